"""history_completeness: what of the ledger counts, and for how much."""

from dataclasses import replace

from tests.conftest import READER_PASSWORD
from tests.database.conftest import minute, store

from marketdata import database as db
from marketdata.database import Connection
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger


async def completeness(connection: Connection) -> tuple[int, int, int, int]:
    row = await connection.fetchrow(
        "SELECT expected_minutes, present_minutes, missing_minutes, outage_minutes"
        " FROM history_completeness WHERE symbol = 'BTCUSDT'"
    )
    assert row is not None
    return (row[0], row[1], row[2], row[3])


async def test_a_gap_counts_until_its_minutes_are_there(market: Connection) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(100), "start")
    assert await completeness(market) == (100, 0, 100, 0)
    work = await ledger.claim(market, lease_seconds=60, max_minutes=60)
    assert work is not None
    await store(market, range(70, 100))
    assert await completeness(market) == (100, 30, 70, 0), "a piece under lease counts by what it lacks"
    await market.execute("UPDATE data_quality_logs SET candles_recovered = 30 WHERE id = $1", work.gap.id)
    await ledger.release(market, work.gap.id, retry_seconds=0, reason="stopped")
    await market.execute("UPDATE data_quality_logs SET lease_until = NULL")
    assert await completeness(market) == (100, 30, 70, 0), "and so does one that was given back half done"
    await store(market, range(70))
    await market.execute("UPDATE data_quality_logs SET resolved = true WHERE event_type = 'gap'")
    assert await completeness(market) == (100, 100, 0, 0)
    assert await market.fetchval("SELECT completeness FROM history_completeness") == 1.0


async def test_an_outage_is_missing_until_confirmed_and_a_row_beats_it(market: Connection) -> None:
    await store(market, [n for n in range(100) if not 20 <= n < 30])
    await ledger.record_outage(market, "BTCUSDT", minute(20), minute(30), confirm_seconds=0)
    assert await completeness(market) == (100, 90, 10, 0)
    work = await ledger.claim(market, lease_seconds=60, max_minutes=1000)
    assert work is not None
    await ledger.settle_outage(market, work.gap.id)
    assert await completeness(market) == (100, 90, 0, 10)
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(25), minute(30), "request", reopen=True)
    assert await completeness(market) == (100, 90, 5, 5), "somebody takes another look"
    await store(market, range(25, 30))
    assert await ledger.settle_gap(market, gap.id, recovered=5, retry_seconds=0, reason="")
    assert await completeness(market) == (100, 95, 0, 5)


async def test_what_is_not_expected_does_not_count(market: Connection) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(100), "start")
    await market.execute("UPDATE symbols SET first_kline = $1, expected_until = $2", minute(20), minute(90))
    assert await completeness(market) == (70, 0, 70, 0)
    await market.execute("UPDATE symbols SET expected_until = $1", minute(10))
    assert await completeness(market) == (0, 0, 0, 0)
    assert await market.fetchval("SELECT completeness FROM history_completeness") is None


async def test_models_may_read_it(market: Connection, database: DatabaseSettings) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(100), "start")
    await ledger.claim(market, lease_seconds=60, max_minutes=60)
    reader = await db.connect(replace(database, user="mlreader", password=READER_PASSWORD), "test-reader")
    assert await completeness(reader) == (100, 0, 100, 0)
    await reader.close()

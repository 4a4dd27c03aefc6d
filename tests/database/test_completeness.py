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


async def covered(connection: Connection) -> tuple[int, int, int]:
    """Return (present, missing, outage) minutes by candle_coverage, which looks at every row."""
    records = await connection.fetch(
        "SELECT status, sum(minutes_of(tstzrange(from_time, to_time)))::integer AS minutes"
        " FROM candle_coverage('BTCUSDT', $1, $2) GROUP BY 1",
        minute(0),
        minute(100),
    )
    by_status = {r["status"]: r["minutes"] for r in records}
    missing, outage = by_status.pop("missing", 0), by_status.pop("outage", 0)
    return sum(by_status.values()), missing, outage


async def confirm_outage(connection: Connection) -> None:
    work = await ledger.claim(connection, lease_seconds=60, max_minutes=1000)
    assert work is not None
    assert work.is_outage
    await ledger.settle_outage(connection, work.gap.id)


async def test_an_outage_found_again_by_an_older_gap_made_longer(market: Connection) -> None:
    await store(market, [n for n in range(100) if not 10 <= n < 30])
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(10), minute(20), "jump")
    await ledger.release(market, gap.id, retry_seconds=3600, reason="waits")
    await ledger.record_outage(market, "BTCUSDT", minute(20), minute(30), confirm_seconds=0)
    await confirm_outage(market)
    (again,) = await ledger.record_missing(market, "BTCUSDT", minute(20), minute(30), "audit", reopen=True)
    assert again.id == gap.id, "it continues the open gap"
    await store(market, range(10, 25))
    assert await ledger.settle_gap(market, gap.id, recovered=15, retry_seconds=0, reason="")
    assert await covered(market) == (95, 0, 5)
    assert await completeness(market) == (100, 95, 0, 5)


async def test_an_outage_found_again_and_then_joined_by_another(market: Connection) -> None:
    await store(market, [n for n in range(100) if not 20 <= n < 40])
    await ledger.record_outage(market, "BTCUSDT", minute(20), minute(30), confirm_seconds=0)
    await confirm_outage(market)
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(20), minute(30), "audit", reopen=True)
    await store(market, range(20, 25))
    assert await ledger.settle_gap(market, gap.id, recovered=5, retry_seconds=0, reason="")
    await ledger.record_outage(market, "BTCUSDT", minute(30), minute(40), confirm_seconds=0)
    await confirm_outage(market)
    assert await covered(market) == (85, 0, 15)
    assert await completeness(market) == (100, 85, 0, 15)

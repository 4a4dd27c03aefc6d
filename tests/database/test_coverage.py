"""candle_coverage covers every expected minute exactly once, and says what each one is."""

import random

from tests.database.conftest import T0, minute, store

from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Source
from marketdata.store import ledger


async def coverage(
    connection: Connection, start: float = -100, end: float = 1000
) -> list[tuple[float, float, str]]:
    records = await connection.fetch(
        "SELECT * FROM candle_coverage('BTCUSDT', $1, $2)", minute(start), minute(end)
    )
    return [
        ((r["from_time"] - T0) / MINUTE_MS, (r["to_time"] - T0) / MINUTE_MS, r["status"]) for r in records
    ]


async def test_an_empty_history_is_missing_from_its_start_to_the_markets_minute(market: Connection) -> None:
    assert await coverage(market) == [(0, 100, "missing")]


async def test_every_kind_of_minute(market: Connection) -> None:
    await store(market, range(10), source=Source.ARCHIVE)
    await store(market, range(10, 20))
    await store(market, range(20, 25), trades=0)
    await store(market, range(40, 100), source=Source.STREAM)
    await ledger.record_outage(market, "BTCUSDT", minute(25), minute(35), confirm_seconds=0)
    expected = [
        (0, 10, "archive"),
        (10, 20, "rest"),
        (20, 25, "no-trade"),
        (25, 40, "missing"),
        (40, 100, "stream"),
    ]
    assert await coverage(market) == expected, "a provisional outage is still missing"
    work = await ledger.claim(market, lease_seconds=60, max_minutes=1000)
    assert work is not None
    await ledger.settle_outage(market, work.gap.id)
    expected[3:4] = [(25, 35, "outage"), (35, 40, "missing")]
    assert await coverage(market) == expected
    await store(market, [27])
    assert (27, 28, "rest") in await coverage(market), "a row beats an outage"


async def test_what_is_not_expected_is_not_covered(market: Connection) -> None:
    await market.execute(
        "UPDATE symbols SET first_kline = $1, expected_until = $2", minute(20) + 1, minute(90)
    )
    assert await coverage(market) == [(21, 90, "missing")]
    assert await coverage(market, 30, 40) == [(30, 40, "missing")]
    assert await coverage(market, 40, 30) == []
    assert await market.fetch("SELECT * FROM candle_coverage('NOSUCH', $1, $2)", minute(0), minute(9)) == []


async def test_without_a_market_clock_nothing_is_expected(connection: Connection) -> None:
    await connection.execute("INSERT INTO symbols VALUES ('BTCUSDT', 'TRADING', NULL, $1, NULL)", minute(0))
    assert await coverage(connection) == []


async def test_each_minute_exactly_once_whatever_is_stored(market: Connection) -> None:
    rng = random.Random(7)
    for source in Source:
        await store(market, [n for n in range(100) if rng.random() < 0.3], source=source)
    covered = [n for start, end, _ in await coverage(market) for n in range(int(start), int(end))]
    assert covered == list(range(100))


async def test_missing_ranges_across_days(market: Connection) -> None:
    await market.execute("SELECT advance_market_clock($1)", minute(5 * 1440))
    present = [n for n in range(5 * 1440) if not (100 <= n < 103 or 1440 <= n < 2880 or n == 4000)]
    await store(market, present)
    missing = await market.fetch(
        "SELECT lower(r) AS a, upper(r) AS b FROM unnest(missing_ranges('BTCUSDT', $1, $2)) AS r",
        minute(0), minute(5 * 1440),
    )  # fmt: skip
    assert [((r["a"] - T0) // MINUTE_MS, (r["b"] - T0) // MINUTE_MS) for r in missing] == [
        (100, 103), (1440, 2880), (4000, 4001),
    ]  # fmt: skip


async def test_a_session_in_another_time_zone_sees_the_same(market: Connection) -> None:
    await store(market, range(0, 100, 3))
    before = await coverage(market)
    await market.execute("SET timezone = 'America/New_York'")
    assert await coverage(market) == before

"""Writing candles: idempotent, by precedence, exact, and the stale ranges that go with it."""

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.database import Connection
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.store import candles
from marketdata.store.candles import Row, Written

T0 = 1679616000000


def candle(minute: int, close: float = 1.5, symbol: str = "BTCUSDT") -> Candle:
    return Candle(symbol, T0 + minute * MINUTE_MS, 1.0, 2.0, 0.5, close, 10.0, 15.0, 3, 5.0, 7.5)


def rows(*those: Candle, late_ms: int = 60_020) -> list[Row]:
    return [Row(c, c.time + late_ms) for c in those]


async def stored(connection: Connection) -> list[Candle]:
    return [
        Candle(*record)
        for record in await connection.fetch(
            "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,"
            " taker_buy_quote_volume FROM candles_1m ORDER BY symbol, time"
        )
    ]


@pytest.mark.parametrize("age_ms", [60_020, 30 * 86_400_000], ids=["recent", "columnar"])
async def test_writes_are_idempotent_and_exact(connection: Connection, age_ms: int) -> None:
    those = [candle(n, 1.0 + n / 7) for n in range(5)] + [candle(2, 1.1, "ETHUSDT")]
    first = await candles.write(connection, rows(*those, late_ms=age_ms), source=Source.REST)
    again = await candles.write(connection, rows(*reversed(those), late_ms=age_ms + 1000), source=Source.REST)
    assert first == Written(6, 0, 0, 0)
    assert again == Written(0, 0, 6, 0)
    assert await stored(connection) == sorted(those)
    known = await connection.fetchval("SELECT known_at FROM candles_1m WHERE symbol = 'ETHUSDT'")
    assert known == T0 + 2 * MINUTE_MS + age_ms, "an equal candle keeps the time at which it became known"


@pytest.mark.parametrize("age_ms", [60_020, 30 * 86_400_000], ids=["recent", "columnar"])
@pytest.mark.parametrize(
    ("first", "second", "changes"),
    [
        (Source.STREAM, Source.REST, True),
        (Source.STREAM, Source.ARCHIVE, True),
        (Source.STREAM, Source.STREAM, True),
        (Source.REST, Source.STREAM, False),
        (Source.ARCHIVE, Source.STREAM, False),
        (Source.REST, Source.ARCHIVE, True),
    ],
)
async def test_rest_and_archive_beat_the_stream(
    connection: Connection, first: Source, second: Source, changes: bool, age_ms: int
) -> None:
    await candles.write(connection, rows(candle(0, 1.5), late_ms=age_ms), source=first)
    written = await candles.write(connection, rows(candle(0, 1.6), late_ms=age_ms), source=second)
    assert written.changed == int(changes)
    record = await connection.fetchrow("SELECT close, source FROM candles_1m")
    assert record is not None
    assert tuple(record) == ((1.6, second.value) if changes else (1.5, first.value))


async def test_a_head_leaves_no_stale_row_and_anything_else_does(connection: Connection) -> None:
    await candles.write(connection, rows(candle(0), candle(1)), source=Source.STREAM, head=True)
    assert await connection.fetchval("SELECT count(*) FROM stale_features") == 0
    await candles.write(connection, rows(candle(1, 1.7), candle(2)), source=Source.REST, head=True)
    await candles.write(connection, rows(candle(5), candle(6)), source=Source.STREAM)
    ranges = await connection.fetch("SELECT symbol, from_time, to_time FROM stale_features ORDER BY id")
    assert [tuple(r) for r in ranges] == [
        ("BTCUSDT", T0 + 2 * MINUTE_MS, T0 + (1 + MAX_WINDOW + 1) * MINUTE_MS),
        ("BTCUSDT", T0 + 6 * MINUTE_MS, T0 + (6 + MAX_WINDOW + 1) * MINUTE_MS),
    ]


async def test_what_a_better_source_corrects_stays_readable(connection: Connection) -> None:
    await candles.write(connection, rows(candle(0, 1.5), candle(1)), source=Source.STREAM)
    await candles.write(connection, rows(candle(0, 1.6), candle(1)), source=Source.REST)
    (record,) = await connection.fetch(
        "SELECT symbol, gap_start, detail -> 'old' ->> 'close' AS close,"
        " detail -> 'old' ->> 'source' AS source"
        " FROM data_quality_logs WHERE event_type = 'revision'"
    )
    assert tuple(record) == ("BTCUSDT", T0, "1.5", "stream")


async def test_an_impossible_candle_costs_only_itself(connection: Connection) -> None:
    bad = candle(1)._replace(high=0.1)
    written = await candles.write(connection, rows(candle(0), bad, candle(2)), source=Source.STREAM)
    assert written == Written(2, 0, 0, 1)
    record = await connection.fetchrow("SELECT event_type, gap_start, detail FROM data_quality_logs")
    assert record is not None
    assert (record["event_type"], record["gap_start"]) == ("invalid", bad.time)
    assert "0.1" in record["detail"]


async def test_the_constraints_refuse_what_the_check_refuses(connection: Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(
            "INSERT INTO candles_1m VALUES ('B', $1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 'stream', $1)", T0 + 1000
        )
    for column, value in (
        ("low", "0"),
        ("high", "'NaN'"),
        ("volume", "'NaN'"),
        ("trades", "-1"),
        ("source", "'me'"),
    ):
        values = dict(open=1, high=1, low=1, volume=0, trades=0, source="'stream'") | {column: value}
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO candles_1m VALUES ('B', $1, {open}, {high}, {low}, 1, {volume}, 0, {trades}, 0,"
                " 0, {source}, $1)".format(**values), T0,
            )  # fmt: skip


async def test_the_market_clock_goes_forward_only(connection: Connection) -> None:
    await candles.write(connection, rows(candle(5)), source=Source.STREAM)
    now = await connection.fetchval("SELECT market_now()")
    await candles.write(connection, rows(candle(1)), source=Source.STREAM)
    assert now == T0 + 5 * MINUTE_MS + 60_020
    assert await connection.fetchval("SELECT market_now()") == now


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 8), st.sampled_from([1.1, 1.2, 1.3])), min_size=1, max_size=6),
            st.sampled_from(Source),
        ),
        max_size=8,
    )
)
async def test_any_order_of_writes_ends_as_the_rules_say(
    connection: Connection, batches: list[tuple[list[tuple[int, float]], Source]]
) -> None:
    await connection.execute("TRUNCATE candles_1m, stale_features")
    expected: dict[int, tuple[float, str]] = {}
    for batch, source in batches:
        await candles.write(connection, rows(*(candle(m, c) for m, c in batch)), source=source)
        for minute, close in dict(batch).items():
            old = expected.get(minute)
            if old is None or (close != old[0] and (old[1] == "stream" or source is not Source.STREAM)):
                expected[minute] = (close, source.value)
    found = await connection.fetch("SELECT time, close, source FROM candles_1m")
    assert {(r["time"] - T0) // MINUTE_MS: (r["close"], r["source"]) for r in found} == expected


@pytest.mark.parametrize("age_ms", [60_020, 30 * 86_400_000], ids=["recent", "columnar"])
async def test_a_head_that_a_repair_overtook_is_no_head(connection: Connection, age_ms: int) -> None:
    """A request has a minute fetched while an older one still waits in the stream's backlog."""

    async def stale_after(*minutes: int, source: Source, symbol: str = "BTCUSDT") -> list[int]:
        await connection.execute("TRUNCATE stale_features")
        those = rows(*(candle(n, symbol=symbol) for n in minutes), late_ms=age_ms)
        await candles.write(connection, those, source=source, head=source is Source.STREAM)
        records = await connection.fetch("SELECT from_time FROM stale_features")
        return [(record["from_time"] - T0) // MINUTE_MS for record in records]

    assert await stale_after(0, 1, source=Source.STREAM) == [], "in order: no row was without them"
    assert await stale_after(4, source=Source.REST) == [5]
    assert await stale_after(2, 3, source=Source.STREAM) == [3]
    assert await stale_after(2, source=Source.STREAM, symbol="ETHUSDT") == [], "another's are not its own"
    assert await stale_after(5, source=Source.STREAM) == []

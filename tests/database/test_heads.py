"""The short statement for heads that are news: when it is taken, and that it leaves the same rows."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.store import candles
from marketdata.store.candles import Row, Written

T0 = 1679616000000


def row(minute: int, symbol: str = "ETHUSDT", *, after_ms: int = 60_020, close: float = 1.5) -> Row:
    time = T0 + minute * MINUTE_MS
    return Row(Candle(symbol, time, 1.0, 2.0, 0.5, close, 10.0, 15.0, 3, 5.0, 7.5), time + after_ms)


async def heads(connection: Connection, *rows: Row) -> Written:
    return await candles.write(connection, rows, source=Source.STREAM, head=True)


async def marks(connection: Connection) -> list[tuple[str, int]]:
    records = await connection.fetch(
        "SELECT symbol, from_time FROM stale_features ORDER BY symbol, from_time"
    )
    return [(record["symbol"], (record["from_time"] - T0) // MINUTE_MS) for record in records]


async def test_heads_in_order_take_the_short_way_and_move_the_clock_once_a_minute(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heads(connection, row(0, "AAAUSDT"))

    async def refuse(*_: object) -> None:
        raise AssertionError("the long statement was asked")

    monkeypatch.setattr(candles, "_upsert", refuse)
    assert await heads(connection, row(0, "CCCUSDT", after_ms=60_050)) == Written(1, 0, 0, 0)
    assert await heads(connection, row(0, "DDDUSDT"), row(0, "BTCUSDT")) == Written(2, 0, 0, 0)
    assert await connection.fetchval("SELECT market_now()") == row(0).known_at
    assert await heads(connection, row(1, "AAAUSDT")) == Written(1, 0, 0, 0)
    assert await connection.fetchval("SELECT market_now()") == row(1).known_at
    backlog = [row(minute, symbol) for minute in (2, 3, 4) for symbol in ("AAAUSDT", "BTCUSDT")]
    assert await heads(connection, *backlog) == Written(6, 0, 0, 0)
    assert await connection.fetchval("SELECT market_now()") == row(4).known_at
    assert await connection.fetchval("SELECT count(*) FROM candles_1m") == 11
    assert await marks(connection) == []


async def test_no_row_computed_with_the_reference_is_known_before_it(connection: Connection) -> None:
    """Another process computes with what this one has stored, and may have heard the exchange no later."""
    await heads(connection, row(0, "AAAUSDT"))
    late = row(0, "BTCUSDT", after_ms=60_900)
    assert await heads(connection, late) == Written(1, 0, 0, 0)
    assert await connection.fetchval("SELECT market_now()") == late.known_at


@pytest.mark.parametrize("pushed", [60_020, 110_000])
async def test_a_head_that_another_writer_overtook_with_a_candle_closed_early_is_marked(
    connection: Connection, pushed: int
) -> None:
    await heads(connection, row(0))
    # Trading halted in the middle of minute 2, whose candle was pushed before the minute was over.
    await heads(connection, row(2, after_ms=41_000))
    assert await marks(connection) == []
    await heads(connection, row(1, after_ms=pushed))
    assert await marks(connection) == [("ETHUSDT", 2)]


async def test_a_head_behind_the_clock_is_looked_at_and_not_marked_where_nothing_is_later(
    connection: Connection,
) -> None:
    await heads(connection, row(0), row(0, "AAAUSDT", after_ms=60_900))
    assert await heads(connection, row(0, "BBBUSDT")) == Written(1, 0, 0, 0)
    assert await marks(connection) == []


async def test_what_is_stored_already_is_left_to_the_rules(connection: Connection) -> None:
    await heads(connection, row(0))
    await candles.write(connection, [row(1, close=1.7)], source=Source.REST)
    assert await heads(connection, row(1), row(1, "AAAUSDT")) == Written(1, 0, 1, 0)
    assert await connection.fetchval("SELECT close FROM candles_1m WHERE source = 'rest'") == 1.7
    assert await heads(connection, row(1, "AAAUSDT", close=1.1)) == Written(0, 1, 0, 0)
    assert ("AAAUSDT", 2) in await marks(connection)


async def test_a_batch_past_the_close_is_one_statement_without_the_rest(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await heads(connection, row(0, "AAAUSDT"))

    class Known(dict[str, str]):
        def __getitem__(self, name: str) -> str:
            assert name == "insert_few"
            return before[name]

    before = candles.QUERIES
    monkeypatch.setattr(candles, "QUERIES", Known())
    rows = [row(0, symbol, after_ms=60_020 + n) for n, symbol in enumerate(("BBBUSDT", "CCCUSDT", "DDDUSDT"))]
    assert await heads(connection, *rows) == Written(3, 0, 0, 0)
    monkeypatch.undo()
    assert await heads(connection, row(0, "DDDUSDT"), row(0, "EEEUSDT")) == Written(1, 0, 1, 0)
    stored = await connection.fetch("SELECT symbol, known_at FROM candles_1m ORDER BY symbol")
    assert [tuple(r) for r in stored[1:4]] == [(r.candle.symbol, r.known_at) for r in rows]


async def test_the_statements_of_heads_are_planned_once(connection: Connection) -> None:
    for minute in range(8):
        await heads(connection, *(row(minute, symbol) for symbol in ("AAAUSDT", "BTCUSDT")))
        await heads(connection, *(row(minute, symbol) for symbol in ("CCCUSDT", "DDDUSDT")))
        await heads(connection, row(minute, "EEEUSDT"))
    planned = await connection.fetch("SELECT statement, custom_plans FROM pg_prepared_statements")
    plans = {r["statement"]: r["custom_plans"] for r in planned}
    names = ("insert_head", "insert_few", "insert_heads")
    # The five that PostgreSQL tries first.
    assert [plans[candles.QUERIES[name]] for name in names] == [5, 5, 5]


async def test_every_number_arrives_as_it_is(connection: Connection) -> None:
    await heads(connection, row(0, "AAAUSDT"))
    exact = [0.1, 1e-8, 5e-324, 1.7976931348623157e308, 76421.07000000001, 2.0**53]
    for minute in (0, 1):  # the short statement, and the one that moves the clock
        time, known_at = row(minute).candle.time, row(minute).known_at
        rows = [
            Row(Candle(f"S{n}USDT", time, p, p, p, p, p, p, 2**53, 0.0, p), known_at)
            for n, p in enumerate(exact)
        ]
        assert await heads(connection, *rows) == Written(len(rows), 0, 0, 0)
        stored = await connection.fetch(
            "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,"
            " taker_buy_quote_volume FROM candles_1m WHERE symbol = ANY($1) AND time = $2 ORDER BY symbol",
            [r.candle.symbol for r in rows],
            rows[0].candle.time,
        )
        assert [Candle(*r) for r in stored] == [r.candle for r in rows]


WRITES = st.lists(
    st.tuples(
        st.sampled_from([Source.STREAM, Source.STREAM, Source.STREAM, Source.REST]),
        st.booleans(),
        st.lists(
            st.builds(
                lambda minute, symbol, after, close: row(minute, symbol, after_ms=after, close=close),
                st.integers(0, 5), st.sampled_from(["BTCUSDT", "AAAUSDT", "ETHUSDT"]),
                st.sampled_from([60_020, 60_020, 60_050, 119_000]), st.sampled_from([1.5, 1.5, 1.6]),
            ),
            min_size=1, max_size=4,
        ),
    ),
    max_size=7,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES)
async def test_it_leaves_what_the_long_statement_would(
    connection: Connection, writes: list[tuple[Source, bool, list[Row]]]
) -> None:
    async def left(short: bool) -> tuple[object, ...]:
        await connection.execute("TRUNCATE candles_1m, stale_features, market_clock")
        written = []
        with pytest.MonkeyPatch.context() as patch:
            if not short:

                async def nothing(*_: object) -> int:
                    return 0

                patch.setattr(candles, "_insert_heads", nothing)
            for source, head, rows in writes:
                written.append(await candles.write(connection, rows, source=source, head=head))
        stored = await connection.fetch("SELECT * FROM candles_1m ORDER BY symbol, time")
        ranges = await connection.fetch(
            "SELECT symbol, from_time, to_time FROM stale_features ORDER BY symbol, from_time, to_time"
        )
        return written, [tuple(r) for r in stored], [tuple(r) for r in ranges]

    assert await left(True) == await left(False)

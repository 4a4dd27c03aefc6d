"""What happens to the reference's candles reaches the rows of every other symbol, in the same transaction."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from tests.database.conftest import candle, minute, store
from tests.database.test_hot_queries import GROWING, scans

from marketdata import database as db
from marketdata.database import Connection
from marketdata.features.columns import REFERENCE
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import Result
from marketdata.features.registry import NAMES
from marketdata.models import MINUTE_MS, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, features, ledger, symbols
from marketdata.store.queries import QUERIES

MONTH = 31 * 1440


@pytest.fixture
async def three(market: Connection) -> Connection:
    """``market`` with two more symbols."""
    await symbols.register(
        market, {"ETHUSDT": "TRADING", "SOLUSDT": "TRADING"}, now_ms=minute(1440), history_days=1
    )
    return market


async def marks(connection: Connection) -> list[tuple[str, float, float]]:
    """Return the other symbols' marks (first minute, last exclusive), and forget all."""
    records = await connection.fetch("DELETE FROM stale_features RETURNING symbol, from_time, to_time")
    return sorted(
        (r["symbol"], (r["from_time"] - minute(0)) / MINUTE_MS, (r["to_time"] - minute(0)) / MINUTE_MS)
        for r in records
        if r["symbol"] != REFERENCE
    )


def row(*minutes: int) -> Result:
    n = len(minutes)
    return Result(
        np.array([minute(m) for m in minutes], dtype=np.int64),
        np.zeros((n, len(NAMES))),
        np.ones(n),
        np.ones(n, dtype=np.bool_),
    )


async def head(connection: Connection, *minutes: int, symbol: str = REFERENCE) -> None:
    rows = [candles.Row(candle(n, symbol=symbol), minute(n + 1) + 20) for n in minutes]
    await candles.write(connection, rows, source=Source.STREAM, head=True)


def reach(first: int, last: int) -> list[tuple[str, float, float]]:
    """The marks of a change of the minutes ``first`` to ``last``."""
    return [(symbol, first + 1, last + 1 + CROSS_WINDOW) for symbol in ("ETHUSDT", "SOLUSDT")]


async def test_heads_in_order_mark_nothing(three: Connection) -> None:
    for n in range(5):
        await head(three, n)
        await features.insert(three, [("BTCUSDT", row(n + 1)), ("ETHUSDT", row(n + 1))], known_at=0)
    assert await marks(three) == []


async def test_a_late_head_marks_who_did_not_wait_for_it(three: Connection) -> None:
    await head(three, 4)
    await head(three, 5, symbol="ETHUSDT")
    await features.insert(three, [("ETHUSDT", row(5, 6)), ("SOLUSDT", row(5))], known_at=0)
    await head(three, 5)
    assert await marks(three) == [("ETHUSDT", 6, 6 + CROSS_WINDOW)]


@pytest.mark.parametrize("source", [Source.STREAM, Source.REST, Source.ARCHIVE])
async def test_a_repair_marks_every_symbol(three: Connection, source: Source) -> None:
    await store(three, [10, 14], source=source)
    assert await marks(three) == reach(10, 14)
    await store(three, [10, 14], source=source)
    assert await marks(three) == [], "nothing changed"


async def test_a_revision_marks_every_symbol(three: Connection) -> None:
    await head(three, 10)
    await candles.write(three, [candles.Row(candle(10, 1.7), minute(11))], source=Source.REST)
    assert await marks(three) == reach(10, 10)


async def test_another_symbols_candles_are_its_own(three: Connection) -> None:
    rows = [candles.Row(candle(10, symbol="SOLUSDT"), minute(11))]
    await candles.write(three, rows, source=Source.REST)
    assert {symbol for symbol, *_ in await marks(three)} == {"SOLUSDT"}


async def test_an_outage_of_the_reference_is_flat_for_all(three: Connection) -> None:
    await store(three, [9, 40])
    await marks(three)
    await ledger.record_outage(three, REFERENCE, minute(10), minute(40), confirm_seconds=0)
    assert await marks(three) == reach(10, 39)
    await store(three, [9 - 1])
    assert await marks(three) == reach(8, 8), "a candle stands between it and the outage's price"
    await candles.write(three, [candles.Row(candle(9, 1.7), minute(10))], source=Source.REST)
    assert await marks(three) == reach(9, 39), "the close in front of the outage is its price"
    work = await ledger.claim(three, lease_seconds=60, max_minutes=1000)
    assert work is not None
    await ledger.settle_outage(three, work.gap.id)
    assert await marks(three) == [], "confirmed, it is as flat as before"


async def test_an_outage_of_another_symbol_is_its_own(three: Connection) -> None:
    await ledger.record_outage(three, "ETHUSDT", minute(10), minute(40), confirm_seconds=0)
    assert {symbol for symbol, *_ in await marks(three)} == {"ETHUSDT"}


async def test_years_of_history_mark_nobody_and_the_last_month_does(three: Connection) -> None:
    await three.execute("SELECT advance_market_clock($1)", minute(3 * MONTH))
    edge = (await three.fetchval("SELECT market_now() - interval '1 month'") - minute(0)) // MINUTE_MS
    await store(three, range(0, 2000), source=Source.ARCHIVE)
    await store(three, [edge - CROSS_WINDOW - 2], source=Source.REST)
    assert await marks(three) == []
    last = edge - CROSS_WINDOW
    await store(three, range(last - 5, last + 5), source=Source.ARCHIVE)
    assert await marks(three) == reach(last - 5, last + 4), "one mark a symbol"


async def test_who_is_not_expected_there_is_left_alone(three: Connection) -> None:
    await three.execute("UPDATE symbols SET expected_until = $1 WHERE symbol = 'ETHUSDT'", minute(5))
    await three.execute("UPDATE symbols SET first_kline = $1 WHERE symbol = 'SOLUSDT'", minute(1000))
    await store(three, [10])
    assert await marks(three) == []
    await store(three, [4, 999])
    assert {symbol for symbol, *_ in await marks(three)} == {"ETHUSDT", "SOLUSDT"}


async def test_a_head_cannot_slip_in_between_a_question_for_it_and_the_row_without_it(
    three: Connection, database: DatabaseSettings
) -> None:
    """The row is not yet to be seen when the candle is written, and the candle not when it is asked for."""
    await head(three, 4)
    writer = await db.connect(database, "test-writer")
    try:
        async with features.still_lacking(three, [minute(5)]) as sure:
            assert sure
            late = asyncio.create_task(head(writer, 5))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not await three.fetchval(waiting):
                assert not late.done(), "the candle does not wait for the row"
            await features.insert(three, [("ETHUSDT", row(6))], known_at=0)
        await late
        assert await marks(three) == [("ETHUSDT", 6, 6 + CROSS_WINDOW)]
        async with features.still_lacking(three, [minute(5)]) as sure:
            assert not sure, "it has come"
        async with features.still_lacking(three, [minute(7)]) as sure:
            assert sure
        async with features.still_lacking(three, []) as sure:
            assert sure
    finally:
        await writer.close()


async def test_a_head_waits_for_no_other_head(three: Connection, database: DatabaseSettings) -> None:
    writer = await db.connect(database, "test-writer", command_timeout=20)
    # A hypertable's first candle makes a chunk, which others wait for.
    await head(three, 4)
    try:
        async with three.transaction():
            await head(three, 5)
            await head(writer, 6)
    finally:
        await writer.close()


async def test_what_a_head_asks_reads_by_an_index(three: Connection) -> None:
    await features.insert(three, [("ETHUSDT", row(*range(50)))], known_at=0)
    await three.execute("SET enable_seqscan = off")
    body = await three.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'mark_beside'")
    asked = "SELECT max(time) FROM feature_values"
    probed = "SELECT FROM feature_values AS f WHERE f.symbol = symbols.symbol AND f.time > p_from"
    assert asked in body
    assert probed in body
    probe = f"SELECT symbol FROM symbols WHERE EXISTS ({probed.replace('p_from', '$$2023-03-24$$')})"
    for query in (asked, probe):
        plan = json.loads(await three.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
        assert [name for name in scans(plan) if name.startswith(GROWING)] == []


async def test_what_rows_ask_of_the_reference_reads_by_the_key(three: Connection) -> None:
    await store(three, range(100))
    await three.execute("SET enable_seqscan = off")
    values = {
        "reference_closes": ("'BTCUSDT'", "'2023-03-24'", "'2023-03-25'"),
        "lacking_reference": ("'BTCUSDT'", "'{2023-03-24}'", "'2023-03-24'", "'2023-03-25'"),
    }
    for name, given in values.items():
        query = QUERIES[name]
        for n, value in enumerate(given, 1):
            query = query.replace(f"${n}", value)
        plan = json.loads(await three.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
        assert scans(plan) == [], name

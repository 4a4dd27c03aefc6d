"""Frames to feature rows without a socket: where the database holds other numbers than the frame's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from tests.feeder.conftest import T0, eventually

from data_feeder.buffer import Buffer, Item
from data_feeder.features import FeatureTask
from data_feeder.ingest import Ingest
from data_feeder.writer import Writer
from marketdata import database as db
from marketdata.clock import MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.features.engine import compute
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import books, candles, features, symbols
from marketdata.store.books import BookMinute

START = T0 + 100 * MINUTE_MS


def candle(n: int, close: float) -> Candle:
    return Candle(
        "BTCUSDT", START + n * MINUTE_MS, 100.0, max(close, 101.0), 99.0, close, 2.0, 200.0, 3, 1.0, 100.0
    )


def frame(row: Candle, **changes: Any) -> bytes:
    k: dict[str, Any] = {"t": row.time, "T": row.time + 59_999, "s": row.symbol, "i": "1m", "f": 1, "L": 3}
    k |= {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": row.trades}
    k |= {"q": row.quote_volume, "V": row.taker_buy_volume, "Q": row.taker_buy_quote_volume, "B": "0"}
    k |= {"x": True} | changes
    return json.dumps({"e": "kline", "E": row.time + 60_020, "s": row.symbol, "k": k}).encode()


@asynccontextmanager
async def pipeline(
    database: DatabaseSettings, connection: Connection
) -> AsyncIterator[Callable[[bytes], Awaitable[Any]]]:
    """Yield what takes in a frame; history of 40 minutes lies before START."""
    await symbols.register(connection, {"BTCUSDT": "TRADING"}, now_ms=START, history_days=1)
    history = [candles.Row(candle(n, 100.0 + n % 3), START) for n in range(-40, 0)]
    await candles.write(connection, history, source=Source.REST)
    clock, market, buffer = SystemClock(), MarketClock(), Buffer()
    market.advance(START)
    ingest = Ingest(["BTCUSDT"], START - MINUTE_MS, buffer, market, clock)
    task = FeatureTask(database, market, clock)
    writer = Writer(
        database, buffer, market, clock, symbols=["BTCUSDT"], head=START - MINUTE_MS, batch_max_rows=100,
        on_commit=task.offer, on_gaps=lambda gaps: None,
    )  # fmt: skip
    running = [asyncio.create_task(writer.run()), asyncio.create_task(task.run())]
    try:
        yield ingest.frame
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def equal_to_batch(connection: Connection, last: int) -> bool:
    """Whether every stored candle up to minute ``last`` has the row that a batch over the database gives."""
    start, end = START - MAX_WINDOW * MINUTE_MS, START + (last + 1) * MINUTE_MS
    batch = compute(await features.load_window(connection, "BTCUSDT", start, end))
    records = await connection.fetch("SELECT time, values FROM feature_values ORDER BY time")
    if [r["time"] for r in records] != batch.time[batch.emit].tolist():
        return False
    rows = np.array([[np.nan if v is None else v for v in r["values"]] for r in records])
    return bool(np.allclose(rows, batch.values[batch.emit], rtol=0, atol=1e-9, equal_nan=True))


async def test_a_refused_candle_enters_no_feature_and_is_asked_for(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with pipeline(database, connection) as take:
        for n in range(6):
            await take(frame(candle(n, 100.5), **({"c": 1000.0} if n == 3 else {})))
            await asyncio.sleep(0.03)
        await eventually(lambda: equal_to_batch(connection, 5), "rows as the database has them")
    gap = await connection.fetchrow(
        "SELECT gap_start, candles_missing FROM data_quality_logs WHERE event_type = 'gap'"
    )
    assert gap is not None
    assert tuple(gap) == (START + 3 * MINUTE_MS, 1)


async def test_features_follow_the_database_where_rest_was_first_with_other_numbers(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with pipeline(database, connection) as take:
        for n in range(8):
            if n == 4:
                # Marks of the start are the task's to settle: only those of this write are taken from it.
                await eventually(lambda: equal_to_batch(connection, 3), "the rows before")
                await candles.write(connection, [candles.Row(candle(4, 100.9), START)], source=Source.REST)
                await connection.execute("DELETE FROM stale_features")
            await take(frame(candle(n, 100.5)))
            await asyncio.sleep(0.03)
        await eventually(lambda: equal_to_batch(connection, 7), "rows as the database has them")
    assert await connection.fetchval(
        "SELECT close FROM candles_1m WHERE time = $1", START + 4 * MINUTE_MS
    ) == 100.9  # fmt: skip


async def test_a_range_at_the_edge_of_the_cache_does_not_stop_the_task(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with pipeline(database, connection) as take:
        await connection.execute("SELECT advance_market_clock($1)", START + 12_345)
        await connection.execute(
            "INSERT INTO stale_features (symbol, from_time, to_time) VALUES ('BTCUSDT', $1, $2)",
            START - 40 * 1440 * MINUTE_MS, START - 20 * 1440 * MINUTE_MS,
        )  # fmt: skip
        await take(frame(candle(0, 100.5)))
        await eventually(lambda: equal_to_batch(connection, 0), "rows as the database has them")

        async def settled() -> bool:
            return await connection.fetchval("SELECT count(*) FROM stale_features") == 0

        await eventually(settled, "nothing stale is left")


def book(n: int) -> BookMinute:
    return BookMinute("BTCUSDT", START + n * MINUTE_MS, 100.4, 1.0, 100.6, 3.0, 19.9, -0.5, 7)


@asynccontextmanager
async def feature_task(database: DatabaseSettings, connection: Connection) -> AsyncIterator[FeatureTask]:
    """Yield a running task; history of 400 minutes lies before START."""
    await symbols.register(connection, {"BTCUSDT": "TRADING"}, now_ms=START, history_days=1)
    history = [candles.Row(candle(n, 100.0 + n % 3), START) for n in range(-400, 0)]
    await candles.write(connection, history, source=Source.REST)
    task = FeatureTask(database, MarketClock(), SystemClock())
    running = asyncio.create_task(task.run())
    try:
        yield task
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def stored(connection: Connection, *minutes: int, head: bool) -> list[Item]:
    items = [Item(candle(n, 100.5), START + n * MINUTE_MS, 0.0, head) for n in minutes]
    rows = [candles.Row(item.candle, item.known_at) for item in items]
    await candles.write(connection, rows, source=Source.STREAM, head=head)
    return items


async def nothing_stale(connection: Connection) -> bool:
    return await connection.fetchval("SELECT count(*) FROM stale_features") == 0


async def test_a_minute_that_came_late_is_seen_by_live_rows_whose_turn_comes_after_its_repair(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with feature_task(database, connection) as task:
        # The writer commits the heads, then the late one with its stale mark, and tells the task of both
        # when it is done: by then the mark may have been taken, and every row there was computed again.
        heads = await stored(connection, 0, 1, 3, head=True)
        await stored(connection, 2, head=False)
        await eventually(lambda: nothing_stale(connection), "the late minute's mark is settled")
        task.offer([*heads, *await stored(connection, 4, 5, head=True)], [], True)
        await eventually(lambda: equal_to_batch(connection, 5), "rows as the database has them")
        task.offer(await stored(connection, 6, head=True), [], True)
        await eventually(lambda: equal_to_batch(connection, 6), "rows as the database has them")


async def test_a_book_minute_outlives_what_throws_the_waiting_candles_away(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with feature_task(database, connection) as task:
        await eventually(lambda: nothing_stale(connection), "the history is computed")
        await books.write(connection, [book(1)], known_at=START)
        task.offer([], [book(1)], True)
        task.offer(await stored(connection, 0, head=True), [], False)
        await eventually(lambda: equal_to_batch(connection, 0), "rows as the database has them")
        await eventually(lambda: nothing_stale(connection), "nothing stale is left")
        task.offer(await stored(connection, 1, head=True), [], True)
        await eventually(lambda: equal_to_batch(connection, 1), "rows as the database has them")


async def test_a_book_minute_outlives_a_connection_lost_before_its_candle_is_committed(
    database: DatabaseSettings, connection: Connection
) -> None:
    buffer, market, clock = Buffer(), MarketClock(), SystemClock()
    async with feature_task(database, connection) as task:
        await eventually(lambda: nothing_stale(connection), "the history is computed")
        writer = Writer(
            database, buffer, market, clock, symbols=["BTCUSDT"], head=START - MINUTE_MS, batch_max_rows=100,
            on_commit=task.offer, on_gaps=lambda gaps: None,
        )  # fmt: skip
        writing = asyncio.create_task(writer.run())
        locking = await db.connect(database, "test-lock")

        async def cut_off() -> bool:
            ended = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database() AND application_name = 'data-feeder-writer'"
            )
            return bool(ended)

        async def committed() -> bool:
            newest = await connection.fetchval("SELECT max(time) FROM candles_1m")
            return bool(newest == START)

        try:
            async with locking.transaction():
                await locking.execute("LOCK TABLE candles_1m IN SHARE ROW EXCLUSIVE MODE")
                buffer.add_books([book(0)])
                await buffer.put(Item(candle(0, 100.5), START, 0.0, True))
                await eventually(cut_off, "the candle's turn has come, after its minute of the book")
            assert await connection.fetchval("SELECT count(*) FROM book_ticker_1m") == 1
            await eventually(committed, "the writer has come back")
            await eventually(lambda: equal_to_batch(connection, 0), "rows as the database has them")
        finally:
            await locking.close()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

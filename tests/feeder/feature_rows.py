"""A feature task beside a real database: candles to give it, and its rows held against one batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache

import numpy as np
from tests.feeder.conftest import T0, eventually

from data_feeder.buffer import Item
from data_feeder.features import FeatureTask
from marketdata import database as db
from marketdata.clock import Clock, MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.features.engine import compute
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, features, symbols

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


class HandClock(SystemClock):
    """Local time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._moved = asyncio.Event()

    def monotonic(self) -> float:
        """Seconds by hand."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the hand has moved that far."""
        until = self.now + seconds
        while self.now < until:
            await self._moved.wait()

    def pass_by(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def at(n: int) -> int:
    """The open (Unix ms) of minute ``n``; 0 is the first live one."""
    return T0 + n * MINUTE_MS


@cache
def candle(symbol: str, n: int, seed: int = 0) -> Candle:
    """A candle of minute ``n`` that no other minute or symbol has; another ``seed``, another candle."""
    draw = np.random.default_rng([SYMBOLS.index(symbol), n + 1_000_000, seed]).random(6).tolist()
    opened, close = 100.0 + draw[0], 100.0 + draw[1]
    volume, taken = 1.0 + draw[4], draw[5]
    return Candle(
        symbol, at(n), opened, max(opened, close) + draw[2], min(opened, close) - draw[3], close,
        volume, volume * 100.0, int(10 * taken) + 1, volume * taken, volume * 100.0 * taken,
    )  # fmt: skip


async def write(
    connection: Connection,
    symbol: str,
    minutes: Iterable[int],
    *,
    head: bool = False,
    seed: int = 0,
) -> list[Item]:
    """Store candles, as the stream's heads or by REST, and return what the writer would offer."""
    those = [candle(symbol, n, seed) for n in minutes]
    rows = [candles.Row(c, c.time + MINUTE_MS + 20) for c in those]
    await candles.write(connection, rows, source=Source.STREAM if head else Source.REST, head=head)
    return [Item(row.candle, row.known_at, 0.0, head) for row in rows]


@asynccontextmanager
async def running(
    database: DatabaseSettings, clock: Clock | None = None, captured: Sequence[str] = SYMBOLS
) -> AsyncIterator[FeatureTask]:
    """Yield a running task."""
    task = FeatureTask(database, MarketClock(), clock or SystemClock(), captured)
    runs = asyncio.create_task(task.run())
    try:
        yield task
    finally:
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)


async def history(connection: Connection, minutes: int, of: Sequence[str] = SYMBOLS) -> None:
    """Register symbols with so many minutes before the first live one."""
    await symbols.register(connection, dict.fromkeys(of, "TRADING"), now_ms=at(0), history_days=10)
    for symbol in of:
        await write(connection, symbol, range(-minutes, 0))


async def nothing_stale(connection: Connection) -> bool:
    """Whether every mark is settled."""
    return not await connection.fetchval("SELECT count(*) FROM stale_features")


async def like_batch(connection: Connection, of: Sequence[str] = SYMBOLS) -> bool:
    """Whether every stored candle has the row that one batch over the database gives, and no other."""
    for symbol in of:
        span = await connection.fetchrow(
            "SELECT min(time) AS first, max(time) AS last FROM candles_1m WHERE symbol = $1", symbol
        )
        assert span is not None
        first, end = span["first"] - MAX_WINDOW * MINUTE_MS, span["last"] + MINUTE_MS
        batch = compute(await features.load_window(connection, symbol, first, end))
        records = await connection.fetch(
            "SELECT time, values, window_coverage FROM feature_values WHERE symbol = $1 ORDER BY time", symbol
        )
        if [r["time"] for r in records] != batch.time[batch.emit].tolist():
            return False
        rows = np.array([[np.nan if v is None else v for v in r["values"]] for r in records])
        if not np.allclose(rows, batch.values[batch.emit], rtol=0, atol=1e-9, equal_nan=True):
            return False
        if not np.allclose([r["window_coverage"] for r in records], batch.window_coverage[batch.emit]):
            return False
    return True


async def settled(connection: Connection, of: Sequence[str] = SYMBOLS) -> None:
    """Return when nothing is stale and every row is the batch's."""

    async def whole() -> bool:
        return await nothing_stale(connection) and await like_batch(connection, of)

    await eventually(whole, "nothing is stale and every row is what batch says", 60)


@asynccontextmanager
async def rows_held_back(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Let no feature row be written until the block ends; they can be read. Yields what holds them."""
    holder = await db.connect(database, "test-holder")
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE feature_values IN EXCLUSIVE MODE")
            yield holder
    finally:
        await holder.close()


async def computed(connection: Connection, what: str = "a row is computed and waits to be written") -> None:
    """Return when the task waits for a lock: what it has computed by then saw nothing that comes later."""

    async def waits() -> bool:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'data-feeder-features' AND wait_event_type = 'Lock'"
            )
        )

    await eventually(waits, what, 60)

"""The feeder of the whole market's minute: its parts as its service puts them together, and watched."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.market_exchange import HEAD
from data_feeder import connections
from data_feeder.buffer import Buffer, Item
from data_feeder.features import FeatureTask
from data_feeder.ingest import Ingest
from data_feeder.session import Patience
from data_feeder.stream import Stream
from data_feeder.writer import Writer
from marketdata import metrics
from marketdata.clock import MarketClock, SystemClock
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import features as store


class Watched:
    """When a minute's candles came, were committed, and its rows were; and how long the loop was held."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.came = self.candles = self.rows = 0.0
        self._rows_due = 0
        self._done = asyncio.Event()
        self.lag = 0.0

    def begin(self) -> None:
        """Wait for the next minute's."""
        self._rows_due = self._count
        self._done.clear()
        self.lag = 0.0

    def final(self) -> None:
        """A closed candle was taken in."""
        self.came = time.monotonic()

    def committed(self, heads: int) -> None:
        """So many symbols' newest candles were committed."""
        if heads:
            self.candles = time.monotonic()

    def written(self, rows: int) -> None:
        """So many feature rows were committed."""
        self._rows_due -= rows
        self.rows = time.monotonic()
        if self._rows_due <= 0:
            self._done.set()

    async def end(self) -> None:
        """Return when all rows of the minute are committed."""
        async with asyncio.timeout(300):
            await self._done.wait()

    async def watch(self) -> None:
        """Ask to be woken after two milliseconds, for ever."""
        while True:
            asked = time.monotonic()
            await asyncio.sleep(0.002)
            self.lag = max(self.lag, time.monotonic() - asked - 0.002)


@asynccontextmanager
async def feeder(
    settings: DatabaseSettings, symbols: list[str], port: int, watched: Watched
) -> AsyncIterator[FeatureTask]:
    """Run streams, writer and features until the block ends."""
    clock, market = SystemClock(), MarketClock()
    market.advance(HEAD + MINUTE_MS)
    task = FeatureTask(settings, market, clock, symbols)
    inserted = store.insert

    async def insert(*args: Any, **named: Any) -> int:
        written = await inserted(*args, **named)
        watched.written(written)
        return written

    class Buffered(Buffer):
        async def put(self, item: Item) -> None:
            watched.final()
            await super().put(item)

    def on_commit(batch: list[Item], *rest: Any) -> None:
        watched.committed(sum(item.is_head for item in batch))
        task.offer(batch, *rest)

    buffer = Buffered()
    ingest = Ingest(symbols, HEAD, buffer, market, clock)
    writer = Writer(
        settings, buffer, market, clock, symbols=symbols, head=HEAD, batch_max_rows=5000,
        on_commit=on_commit, on_gaps=lambda gaps: None,
    )  # fmt: skip
    streams = [
        Stream(
            [f"ws://127.0.0.1:{port}"],
            part,
            ingest,
            clock,
            Patience(),
            on_disconnect=lambda url, reason: print(f"disconnected: {reason}", file=sys.stderr),
            on_failover=lambda failover: None,
        )
        for part in connections.plan(symbols)
    ]
    setattr(store, "insert", insert)  # noqa: B010 - its signature is wider
    runs = [asyncio.create_task(one) for one in (writer.run(), task.run(), watched.watch())]
    runs += [asyncio.create_task(stream.run()) for stream in streams]
    try:
        yield task
    finally:
        store.insert = inserted
        for one in runs:
            one.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


def reconnects() -> float:
    """How many connections ended since the process began."""
    return sum(
        s.value
        for m in metrics.WEBSOCKET_RECONNECTS.collect()
        for s in m.samples
        if s.name.endswith("_total")
    )

"""Feature rows as candles are committed, and stale ones computed again. One task, so neither can
overtake the other."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

from data_feeder.buffer import Item
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock, MarketClock
from marketdata.database import COMMAND_TIMEOUT, TRANSIENT, Connection, connect, explain
from marketdata.features.columns import Columns
from marketdata.features.engine import Result, compute
from marketdata.features.registry import MAX_WINDOW
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS, Candle
from marketdata.settings import DatabaseSettings
from marketdata.store import features as store
from marketdata.store.books import BookMinute

log = get_logger(__name__)

STALE_POLL_SECONDS: Final = 1.0
CHUNK_MS: Final = 1440 * MINUTE_MS
PENDING_MOST: Final = 20_000
"""Candles kept for the live path; beyond that their rows are left to ``mark_unfinished``."""
BOOKS_MOST: Final = 1440
"""Book minutes of a symbol kept for candles still to come."""


class FeatureTask:
    """Keeps ``feature_values`` equal to what the stored candles say."""

    def __init__(self, settings: DatabaseSettings, market: MarketClock, clock: Clock) -> None:
        self.rows_written = 0
        self.newest_row: int | None = None
        self.problem: str | None = None
        self._settings = settings
        self._market = market
        self._clock = clock
        self._pending: dict[str, list[Candle]] = defaultdict(list)
        self._pending_count = 0
        self._since = 0.0
        self._books: dict[str, dict[int, BookMinute]] = defaultdict(dict)
        self._windows: dict[str, Columns] = {}
        self._overflowed = False
        self._work = asyncio.Event()

    def offer(self, batch: list[Item], books: list[BookMinute], exact: bool) -> None:
        """Take note of committed candles and book minutes; never waits.

        ``exact``: the database holds the batch's heads as they are. Where it kept other numbers, or
        refused some, rows are computed from what it holds instead.
        """
        for row in books:
            waiting = self._books[row.symbol]
            waiting[row.time] = row
            if len(waiting) > BOOKS_MOST:
                # A symbol whose candles do not come: what it needs then is read from the database.
                waiting.clear()
                self._windows.pop(row.symbol, None)
        head = [item for item in batch if item.is_head]
        if not head:
            return
        if not exact or self._pending_count + len(head) > PENDING_MOST:
            self._overflowed = True
            self._pending.clear()
            self._windows.clear()
            self._pending_count = 0
            self._work.set()
            return
        if not self._pending_count:
            self._since = self._clock.monotonic()
        for item in head:
            self._pending[item.candle.symbol].append(item.candle)
        self._pending_count += len(head)
        self._work.set()

    async def run(self) -> None:
        """Compute until cancelled. What a failure interrupts is marked unfinished and computed again."""
        waits = delays(0.2, 10.0)
        while True:
            try:
                connection = await connect(
                    self._settings, "data-feeder-features", command_timeout=COMMAND_TIMEOUT
                )
                try:
                    await store.mark_unfinished(connection)
                    async for _ in self._serve(connection):
                        waits = delays(0.2, 10.0)
                        self.problem = None
                finally:
                    connection.terminate()
            except TRANSIENT as error:
                self.problem = f"waiting for the database: {explain(error)}"
                log.warning("features_waiting", reason=explain(error))
            except Exception as error:
                self.problem = f"an unexpected error: {explain(error)}"
                metrics.TASK_FAILURES.labels("features").inc()
                log.exception("features_failed")
            self._windows.clear()
            await self._clock.sleep(next(waits))

    async def _serve(self, connection: Connection) -> AsyncIterator[None]:
        """Compute for ever; yields after each turn that succeeded."""
        stale_at = self._clock.monotonic()
        while True:
            if self._pending_count or self._overflowed:
                await self._live(connection)
            now = self._clock.monotonic()
            if now >= stale_at and not await self._refresh(connection):
                stale_at = now + STALE_POLL_SECONDS
            yield
            if not self._pending_count and not self._overflowed:
                self._work.clear()
                try:
                    async with asyncio.timeout(max(0.0, stale_at - self._clock.monotonic())):
                        await self._work.wait()
                except TimeoutError:
                    continue

    async def _live(self, connection: Connection) -> None:
        if self._overflowed:
            self._overflowed = False
            await store.mark_unfinished(connection)
        pending, self._pending = self._pending, defaultdict(list)
        if not pending:
            return
        since, self._pending_count = self._since, 0
        windows: dict[str, tuple[Columns, int]] = {}
        for symbol, candles in pending.items():
            candles.sort()
            first, end = candles[0].time, candles[-1].time + MINUTE_MS
            window = self._windows.get(symbol)
            if (
                window is None
                or len(window) == 0
                or window.time[-1] + MINUTE_MS > first
                or end - first > CHUNK_MS
            ):
                window = await store.load_window(connection, symbol, first - MAX_WINDOW * MINUTE_MS, first)
            start = int(window.time[-1]) + MINUTE_MS
            books = self._take_books(symbol, start, end)
            if len(candles) != (end - start) // MINUTE_MS:
                # A minute between them came another way: a late frame, a repair, an outage. It may be
                # stored, and its stale mark settled, by now: what these rows see must not be older.
                window = await store.load_window(connection, symbol, first - MAX_WINDOW * MINUTE_MS, end)
                windows[symbol] = window, (end - first) // MINUTE_MS
                continue
            rows = [candle[1:] for candle in candles]
            later = Columns.from_rows(start, end, rows, (), books, float(window.close[-1]))
            windows[symbol] = window.followed_by(later, keep=MAX_WINDOW + len(later)), len(later)
        # Off the event loop: a minute of many symbols must not keep the sockets waiting.
        results = await asyncio.to_thread(_compute, windows)
        written = await store.insert(connection, results, known_at=self._market.now_ms)
        for symbol, (window, _) in windows.items():
            self._windows[symbol] = window.part(max(0, len(window) - MAX_WINDOW), len(window))
        self._count("live", written, results)
        metrics.FEATURE_SECONDS.observe(self._clock.monotonic() - since)

    def _take_books(self, symbol: str, start: int, end: int) -> list[tuple[int, float, float]]:
        """Return the book minutes of ``[start, end)`` and forget them and the older ones.

        Those of later minutes wait for their candles, which may be committed in a later batch.
        """
        waiting = self._books[symbol]
        due = [time for time in waiting if time < end]
        taken = [waiting.pop(time) for time in due]
        return [(b.time, b.spread_bps, b.imbalance) for b in taken if b.time >= start]

    async def _refresh(self, connection: Connection) -> bool:
        """Compute one symbol's stale rows again; return False when there are none.

        Live candles go first: after a chunk that finds some waiting, the rest is left for later.
        """
        stale = await store.take_stale(connection)
        if stale is None:
            return False
        self._windows.pop(stale.symbol, None)
        rows = 0
        chunks = [
            (max(start, end - (n + 1) * CHUNK_MS), end - n * CHUNK_MS)
            for start, end in reversed(stale.ranges)
            for n in range(-(-(end - start) // CHUNK_MS))
        ]
        for start, end in chunks:
            window = await store.load_window(
                connection, stale.symbol, start - (MAX_WINDOW + 1) * MINUTE_MS, end - MINUTE_MS
            )
            result = await asyncio.to_thread(compute, window, (end - start) // MINUTE_MS)
            written = await store.replace(connection, stale.symbol, result, known_at=self._market.now_ms)
            rows += written
            self._count("again", written, [(stale.symbol, result)])
            if self._pending_count or self._overflowed:
                await self._live(connection)
                self._windows.pop(stale.symbol, None)
        await store.settle_stale(connection, stale.ids)
        if rows:
            log.info("features_recomputed", symbol=stale.symbol, rows=rows)
        return True

    def _count(self, path: str, written: int, results: list[tuple[str, Result]]) -> None:
        self.rows_written += written
        metrics.FEATURE_ROWS.labels(path).inc(written)
        for _, result in results:
            if result.emit.any():
                self.newest_row = max(self.newest_row or 0, int(result.time[result.emit][-1]))


def _compute(windows: dict[str, tuple[Columns, int]]) -> list[tuple[str, Result]]:
    return [(symbol, compute(window, last)) for symbol, (window, last) in windows.items()]

"""Feature rows as candles are committed, and stale ones computed again. One task, so neither can
overtake the other."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from data_feeder.board import Board
from data_feeder.buffer import Item
from data_feeder.patience import ReferencePatience
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock, MarketClock
from marketdata.database import COMMAND_TIMEOUT, TRANSIENT, Connection, connect, explain
from marketdata.features.columns import PRESENT, REFERENCE, Columns
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import Result, compute, compute_instant
from marketdata.features.registry import MAX_WINDOW
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS, Candle
from marketdata.settings import DatabaseSettings
from marketdata.shards import WHOLE, Shard
from marketdata.store import features as store
from marketdata.store import shards
from marketdata.store import symbols as symbols_store
from marketdata.store.books import BookMinute

log = get_logger(__name__)

STALE_POLL_SECONDS: Final = 1.0
REFERENCE_POLL_SECONDS: Final = 0.05
"""How often a shard without the reference looks for its candle, while rows wait for it."""
CHUNK_MS: Final = 1440 * MINUTE_MS
PENDING_MOST: Final = 20_000
"""Candles kept for the live path; beyond that their rows are left to ``mark_unfinished``."""
BOOKS_MOST: Final = 1440
"""Book minutes of a symbol kept for candles still to come."""
TOGETHER_MOST: Final = 64
"""Symbols computed and written at once: what a core's cache holds, and no long turn of the event loop."""


class Rows(NamedTuple):
    """Rows to be written: ``result``'s, of one symbol each or all of one.

    ``lacking`` are the minutes (Unix ms) of the reference that they were computed without.
    """

    symbols: str | list[str]
    result: Result
    lacking: list[int]


class FeatureTask:
    """Keeps ``feature_values`` equal to what the stored candles say, of its ``shard`` alone.

    ``symbols`` are those that all shards capture.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        market: MarketClock,
        clock: Clock,
        symbols: Sequence[str] = (),
        shard: Shard = WHOLE,
    ) -> None:
        self.rows_written = 0
        self.newest_row: int | None = None
        self.problem: str | None = None
        self._settings = settings
        self._market = market
        self._clock = clock
        self._shard = shard
        self._of: tuple[str, ...] | None = None
        self._elsewhere = REFERENCE in symbols and not shard.has(REFERENCE)
        self._patience = ReferencePatience(captured=REFERENCE in symbols)
        self._pending: dict[str, list[Candle]] = defaultdict(list)
        self._pending_count = 0
        self._since = 0.0
        self._books: dict[str, dict[int, BookMinute]] = defaultdict(dict)
        self._board = Board(MAX_WINDOW)
        self._overtaken: set[str] = set()
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
                self._overtaken.add(row.symbol)
        now = self._clock.monotonic()
        for item in batch:
            self._patience.committed(item.candle, now)
        head = [item for item in batch if item.is_head]
        if not head:
            # It may be the reference, however late.
            self._work.set()
            return
        if not exact or self._pending_count + len(head) > PENDING_MOST:
            self._overflowed = True
            self._pending.clear()
            self._pending_count = 0
            self._work.set()
            return
        if not self._pending_count:
            self._since = now
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
                    await self._claim(connection)
                    await store.mark_unfinished(connection, self._of)
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
            self._board.clear()
            await self._clock.sleep(next(waits))

    async def _claim(self, connection: Connection) -> None:
        """Wait until nobody else computes these symbols' rows. What came meanwhile is found unfinished."""
        waits = delays(0.05, 1.0)
        while others := await shards.claim(connection, self._shard):
            problem = f"shard {self._shard} waits until others have stopped: {', '.join(others[:4])}"
            if problem != self.problem:
                log.warning("shard_taken", shard=str(self._shard), others=others)
            self.problem = problem
            await self._clock.sleep(next(waits))
        self.problem = None
        if self._shard.of > 1:
            # Names that are no longer captured are repaired, too.
            self._of = self._shard.part(sorted(await symbols_store.known(connection)))

    async def _serve(self, connection: Connection) -> AsyncIterator[None]:
        """Compute for ever; yields after each turn that succeeded."""
        stale_at = self._clock.monotonic()
        while True:
            self._work.clear()
            wait = await self._live(connection)
            now = self._clock.monotonic()
            if now >= stale_at and not await self._refresh(connection):
                stale_at = now + STALE_POLL_SECONDS
            yield
            await self._pause(min(wait, stale_at - self._clock.monotonic()))

    async def _pause(self, seconds: float) -> None:
        """Return when something is offered, or after ``seconds``."""
        if seconds <= 0 or self._work.is_set():
            return
        waiting = [
            asyncio.ensure_future(self._work.wait()),
            asyncio.ensure_future(self._clock.sleep(seconds)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _live(self, connection: Connection) -> float:
        """Compute the rows that are due; return in how many seconds the next one is that waits."""
        if self._overflowed:
            self._overflowed = False
            self._board.clear()
            await store.mark_unfinished(connection, self._of)
        for symbol in self._overtaken:
            self._board.drop(symbol)
        self._overtaken.clear()
        soon = self._elsewhere and await self._look_for_reference(connection)
        since, (due, wait) = self._since, self._take_due()
        if soon:
            wait = min(wait, REFERENCE_POLL_SECONDS)
        if not due:
            return wait
        together, alone = self._sorted_out(due)
        closes = await self._reference_closes(connection, due)
        for minute, symbols in sorted(together.items()):
            for part in _parts(self._board.in_order(symbols)):
                candles = [due[symbol][0] for symbol in part]
                books = [self._take_book(symbol, minute) for symbol in part]
                rows = await asyncio.to_thread(
                    self._together, minute, candles, books, closes.get(minute, np.nan)
                )
                if not await self._written(connection, rows):
                    alone += part
        references: dict[tuple[int, int], Columns] = {}
        for symbol in alone:
            while not await self._alone(connection, symbol, due[symbol], closes, references):
                self._board.drop(symbol)
                references.clear()
        metrics.FEATURE_SECONDS.observe(self._clock.monotonic() - since)
        return wait

    async def _look_for_reference(self, connection: Connection) -> bool:
        """Ask the database for the candle that another shard captures; return whether to ask again soon."""
        wanted = self._patience.wants(self._clock.monotonic())
        if wanted is None:
            return False
        newest = await store.newest_reference(connection, wanted)
        if newest is not None:
            self._patience.stored(newest, self._clock.monotonic())
        return newest is None

    def _take_due(self) -> tuple[dict[str, list[Candle]], float]:
        """Take the candles whose rows wait for nothing, and how long the next of the others waits."""
        now = self._clock.monotonic()
        due: dict[str, list[Candle]] = {}
        kept: dict[str, list[Candle]] = defaultdict(list)
        soonest = STALE_POLL_SECONDS
        for symbol, candles in self._pending.items():
            candles.sort()
            waits = [self._patience.waits(candle, now) for candle in candles]
            ready = next((place for place, wait in enumerate(waits) if wait > 0), len(waits))
            if ready:
                due[symbol] = candles[:ready]
            if ready < len(candles):
                kept[symbol] = candles[ready:]
                soonest = min(soonest, waits[ready])
        self._pending = kept
        self._pending_count = sum(map(len, kept.values()))
        return due, soonest

    def _sorted_out(self, due: dict[str, list[Candle]]) -> tuple[dict[int, list[str]], list[str]]:
        """Return by minute the symbols that are exactly one ahead of the board, and all others."""
        together: dict[int, list[str]] = defaultdict(list)
        alone = []
        for symbol, candles in due.items():
            if len(candles) == 1 and self._board.end(symbol) == candles[0].time:
                together[candles[0].time].append(symbol)
            else:
                alone.append(symbol)
        return together, alone

    async def _reference_closes(
        self, connection: Connection, due: dict[str, list[Candle]]
    ) -> dict[int, float]:
        """What the database says now of the reference in the minutes that are new: a repair may have been
        settled since its candle was offered.
        """
        minutes = {c.time for symbol, candles in due.items() if symbol != REFERENCE for c in candles}
        if not minutes or max(minutes) - min(minutes) > CHUNK_MS:
            return {}
        start, end = min(minutes), max(minutes) + MINUTE_MS
        closes = await store.load_reference(connection, start, end)
        return dict(zip(range(start, end, MINUTE_MS), closes.tolist(), strict=True))

    def _together(
        self, minute: int, candles: list[Candle], books: list[tuple[float, float]], reference: float
    ) -> Rows:
        """Add a minute of several symbols to the board and compute their rows. Runs beside the event loop."""
        self._board.append(minute, candles, books, reference)
        symbols = [candle.symbol for candle in candles]
        columns = self._board.together(symbols, minute + MINUTE_MS)
        result = compute_instant(columns)
        return Rows(symbols, result, _lacking(columns, result))

    async def _alone(
        self,
        connection: Connection,
        symbol: str,
        candles: list[Candle],
        closes: dict[int, float],
        references: dict[tuple[int, int], Columns],
    ) -> bool:
        """Compute one symbol's rows, from the database where the board does not end before them.

        ``references`` keeps the reference's minutes for the next symbol of the same turn, in which no mark is
        taken: that halves the work of a start. False: its candle came meanwhile, and the rows were not
        written.
        """
        start, end = candles[0].time, candles[-1].time + MINUTE_MS
        known = self._board.end(symbol)
        count = (end - start) // MINUTE_MS
        # A minute between them came another way: a late frame, a repair, an outage. It may be stored, and its
        # stale mark settled, by now: what these rows see must not be older.
        if known != start or count != len(candles) or (symbol != REFERENCE and start not in closes):
            span = start - MAX_WINDOW * MINUTE_MS, end
            if span not in references:
                references[span] = await store.load_window(connection, REFERENCE, *span)
            window = references[span]
            if symbol != REFERENCE:
                window = await store.load_window(connection, symbol, *span, window)
            self._take_books(symbol, end)
        else:
            before = self._board.columns(symbol)
            books = [
                (b.time, b.spread_bps, b.imbalance) for b in self._take_books(symbol, end) if b.time >= start
            ]
            later = Columns.from_rows(start, end, [candle[1:] for candle in candles], (), books)
            reference = [c.close if symbol == REFERENCE else closes[c.time] for c in candles]
            window = before.followed_by(replace(later, reference_close=np.array(reference)))
        # Off the event loop: what takes long must not keep the sockets waiting.
        result = await asyncio.to_thread(compute, window, count)
        lacking = [] if symbol == REFERENCE else _lacking(window, result)
        if not await self._written(connection, Rows(symbol, result, lacking)):
            return False
        self._board.put(symbol, window)
        return True

    async def _written(self, connection: Connection, rows: Rows) -> bool:
        """Write live rows, unless what they were computed without has come: then return False."""
        async with store.still_lacking(connection, rows.lacking) as sure:
            if not sure:
                return False
            written = await store.insert(
                connection, [(rows.symbols, rows.result)], known_at=self._market.now_ms
            )
        self._count("live", written, rows.result)
        return True

    def _take_book(self, symbol: str, minute: int) -> tuple[float, float]:
        """Return the spread and the imbalance of a minute, NaN where the book was not seen."""
        for book in self._take_books(symbol, minute + MINUTE_MS):
            if book.time == minute:
                return book.spread_bps, book.imbalance
        return np.nan, np.nan

    def _take_books(self, symbol: str, end: int) -> list[BookMinute]:
        """Return the book minutes before ``end`` and forget them.

        Those of later minutes wait for their candles, which may be committed in a later batch.
        """
        waiting = self._books[symbol]
        return [waiting.pop(time) for time in [time for time in waiting if time < end]]

    async def _refresh(self, connection: Connection) -> bool:
        """Compute one symbol's stale rows again; return False when there are none.

        Live candles go first: after a chunk that finds some waiting, the rest is left for later.
        """
        stale = await store.take_stale(connection, self._of)
        if stale is None:
            return False
        # Its minutes of the reference go with its own: whichever of the two changed.
        self._board.drop(stale.symbol)
        rows = 0
        newest: Columns | None = None
        for place, (start, end) in enumerate(_chunks(stale.ranges)):
            while (again := await self._again(connection, stale.symbol, start, end)) is None:
                pass
            written, window = again
            rows += written
            if place == 0:
                newest = _up_to_the_last_candle(window)
            if self._pending_count or self._overflowed:
                await self._live(connection)
                self._board.drop(stale.symbol)
                newest = None
        if newest is not None:
            # Else the next minute would read the same from the database: for every symbol, after a repair of
            # the reference.
            self._board.put(stale.symbol, newest)
        await store.settle_stale(connection, stale.ids)
        if rows:
            log.info("features_recomputed", symbol=stale.symbol, rows=rows)
        return True

    async def _again(
        self, connection: Connection, symbol: str, start: int, end: int
    ) -> tuple[int, Columns] | None:
        """Compute the rows ``[start, end)`` (instants) from the database; return how many changed, and the
        minutes. None: the reference's candle came meanwhile, and the rows were not written.
        """
        first = start - (MAX_WINDOW + 1) * MINUTE_MS
        window = await store.load_window(connection, symbol, first, end - MINUTE_MS)
        result = await asyncio.to_thread(compute, window, (end - start) // MINUTE_MS)
        lacking = [] if symbol == REFERENCE else _lacking(window, result)
        async with store.still_lacking(connection, lacking) as sure:
            if not sure:
                return None
            written = await store.replace(connection, symbol, result, known_at=self._market.now_ms)
        self._count("again", written, result)
        return written, window

    def _count(self, path: str, written: int, result: Result) -> None:
        self.rows_written += written
        metrics.FEATURE_ROWS.labels(path).inc(written)
        if result.emit.any():
            self.newest_row = max(self.newest_row or 0, int(result.time[result.emit].max()))


def _lacking(columns: Columns, result: Result) -> list[int]:
    """The minutes (Unix ms) of the reference that these rows, the newest, were computed without."""
    if not result.emit.any():
        return []
    first, last = int(result.time[0]), int(result.time[result.emit].max())
    near = (columns.time >= first - CROSS_WINDOW * MINUTE_MS) & (columns.time < last)
    absent = np.isnan(np.atleast_2d(columns.reference_close)).any(axis=0)
    found: list[int] = columns.time[near & absent].tolist()
    return found


def _up_to_the_last_candle(window: Columns) -> Columns:
    real = np.flatnonzero(window.state == PRESENT)
    return window.part(0, int(real[-1]) + 1 if len(real) else 0)


def _parts(symbols: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(symbols), TOGETHER_MOST):
        yield symbols[first : first + TOGETHER_MOST]


def _chunks(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same instants in pieces of CHUNK_MS at most, newest first."""
    return [
        (max(start, end - (n + 1) * CHUNK_MS), end - n * CHUNK_MS)
        for start, end in reversed(ranges)
        for n in range(-(-(end - start) // CHUNK_MS))
    ]

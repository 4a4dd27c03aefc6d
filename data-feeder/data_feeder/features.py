"""Feature rows as candles are committed, and stale ones computed again. One task, so neither can
overtake the other."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_feeder.board import LAG_MINUTES, Board
from data_feeder.buffer import Item
from data_feeder.patience import ReferencePatience
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock, MarketClock
from marketdata.database import COMMAND_TIMEOUT, TRANSIENT, Connection, connect, explain
from marketdata.features.columns import BOOK, PRESENT, REFERENCE, Columns, Floats
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import Result, compute, compute_instant
from marketdata.features.registry import ACTIVE, MAX_WINDOW, NAMES, depths
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS, Candle
from marketdata.settings import DatabaseSettings
from marketdata.shards import WHOLE, Shard
from marketdata.store import features as store
from marketdata.store import shards, windows
from marketdata.store import symbols as symbols_store
from marketdata.store.books import BookMinute
from marketdata.store.features import Stale

P = ParamSpec("P")
T = TypeVar("T")

log = get_logger(__name__)

STALE_POLL_SECONDS: Final = 1.0
STALE_MOST: Final = 512
"""Symbols whose stale ranges are taken at once."""
STALE_SECONDS: Final = 5.0
"""After so long newer ranges are looked for: a hole at the live end waits for no month of every symbol."""
REFERENCE_POLL_SECONDS: Final = 0.05
"""How often a shard without the reference looks for its candle, while rows wait for it."""
CHUNK_MS: Final = 1440 * MINUTE_MS
PENDING_MOST: Final = 20_000
"""Candles kept for the live path; beyond that their rows are left to ``mark_unfinished``."""
BOOKS_MOST: Final = 1440
"""Book minutes of a symbol kept for candles still to come."""
TOGETHER_MOST: Final = 256
"""Symbols computed and written at once: while one part is written the next is computed, and to hand over a
part's rows is no long turn of the event loop."""
TOGETHER_LEAST: Final = 64
"""Fewer are not computed apart so that every thread has some."""
THREADS: Final = 2
WRITTEN_MOST: Final = 128
"""Rows in a statement, or one symbol's: to encode more is a long turn of the event loop."""
GATHER_SECONDS: Final = 0.05
"""Where many symbols are captured, candles of one minute are waited for until so long none has come, or
TOGETHER_MOST have: to compute one symbol's row costs half of what a hundred's do."""
GATHERED_FROM: Final = 32
"""Symbols from which on that is worth the wait."""
GATHER_MOST: Final = 0.25
"""Longer than this, in seconds, none waits for others."""
LOADED_MOST: Final = 100_000
"""Symbols times minutes read from the database at once: a dozen megabytes, twice while they are laid out."""
_DEPTHS: Final = {**depths(), "reference_close": CROSS_WINDOW}
_BOOK_DEPTH: Final = max(_DEPTHS.get(name, 0) for name in BOOK)
_COMPARED: Final = [place for place, feature in ACTIVE if "reference_close" in feature.inputs]
_OWN: Final = [place for place, feature in ACTIVE if "reference_close" not in feature.inputs]


class Rows(NamedTuple):
    """Rows to be written: ``result``'s, of the symbol of each or all of one.

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
        self.warm = False
        """Whether the symbols' windows are in memory, as far as they are stored."""
        self._settings = settings
        self._market = market
        self._clock = clock
        self._symbols = shard.part(symbols)
        self._shard = shard
        self._of: tuple[str, ...] | None = None
        self._elsewhere = REFERENCE in symbols and not shard.has(REFERENCE)
        self._patience = ReferencePatience(captured=REFERENCE in symbols)
        self._pending: dict[str, list[Candle]] = defaultdict(list)
        self._pending_count = 0
        self._since = self._newest = 0.0
        self._books: dict[str, dict[int, BookMinute]] = defaultdict(dict)
        self._board = Board(MAX_WINDOW, _DEPTHS)
        self._ahead: dict[str, Floats] = {}
        # Few: each keeps arrays to compute in, and takes the interpreter from the sockets.
        self._threads = ThreadPoolExecutor(THREADS, "features")
        self._overtaken: set[str] = set()
        self._overflowed = False
        self._work = asyncio.Event()

    @property
    def board_bytes(self) -> int:
        """The memory of the windows."""
        return self._board.nbytes

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
        self._newest = now
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
                    await self._warm_up(connection)
                    self.warm = True
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
            self._forget()
            await self._clock.sleep(next(waits))

    def _forget(self, symbols: Iterable[str] | None = None) -> None:
        """What is in memory of these symbols, or of all, may not be what is stored."""
        if symbols is None:
            self._board.clear()
            self._ahead.clear()
            return
        for symbol in symbols:
            self._board.drop(symbol)
            self._ahead.pop(symbol, None)

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

    async def _beside(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What ``call`` returns, run beside the event loop: the sockets must not be kept waiting."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, functools.partial(call, *args, **named)
        )

    async def _warm_up(self, connection: Connection) -> None:
        """Bring the symbols onto the board, so that the first live minute is like any other.

        Those with stale rows come when these are computed again.
        """
        newest = await windows.newest_minutes(connection, self._symbols)
        stale = await store.stale_symbols(connection)
        head = max(newest.values(), default=0)
        ends: dict[int, list[str]] = defaultdict(list)
        for symbol, minute in newest.items():
            if symbol not in stale and minute > head - LAG_MINUTES * MINUTE_MS:
                ends[minute + MINUTE_MS].append(symbol)
        self._board.reserve(len(self._symbols))
        for end, symbols in sorted(ends.items(), reverse=True):
            for part in _parts(symbols, _loaded_at_once(0)):
                window = await self._load(connection, part, end - MAX_WINDOW * MINUTE_MS, end, 1)
                await self._beside(self._board.put_all, part, window)
        if len(self._symbols) > GATHERED_FROM and ends:
            # For nothing but that every thread has its arrays, and the code is in memory.
            end = max(ends)
            there = [symbol for symbol in ends[end] if self._board.end(symbol) == end]
            symbols = self._board.in_order(there)[: THREADS * TOGETHER_MOST]
            async with self._computing(self._own, end - MINUTE_MS, symbols) as parts:
                for _, values in parts:
                    await values

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
            self._forget()
            await store.mark_unfinished(connection, self._of)
        self._forget(self._overtaken)
        self._overtaken.clear()
        soon = self._elsewhere and await self._look_for_reference(connection)
        since, (due, wait) = self._since, self._take_due()
        if soon:
            wait = min(wait, REFERENCE_POLL_SECONDS)
        if not due:
            return min(wait, await self._compute_ahead())
        together, alone = self._sorted_out(due)
        closes = await self._reference_closes(connection, due)
        for minute, symbols in sorted(together.items()):
            alone += await self._minute(connection, minute, symbols, due, closes.get(minute, np.nan))
        await self._others(connection, alone, due, closes)
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
        if len(self._symbols) > GATHERED_FROM and 0 < self._pending_count < TOGETHER_MOST:
            left = min(self._newest, self._since + GATHER_MOST) + GATHER_SECONDS - now
            if left > 0:
                return {}, left
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
        """Return by minute the symbols that are exactly one ahead of the board, or were when it was computed
        ahead; and all others.
        """
        together: dict[int, list[str]] = defaultdict(list)
        alone = []
        for symbol, candles in due.items():
            known = candles[0].time + (MINUTE_MS if symbol in self._ahead else 0)
            if len(candles) == 1 and self._board.end(symbol) == known:
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

    async def _minute(
        self,
        connection: Connection,
        minute: int,
        symbols: list[str],
        due: dict[str, list[Candle]],
        reference: float,
    ) -> list[str]:
        """Compute a minute's rows of symbols that are on the board up to it, and return those not written.

        While one part is written the next are computed.
        """
        early = self._board.in_order([symbol for symbol in symbols if symbol in self._ahead])
        fresh = self._board.in_order([symbol for symbol in symbols if symbol not in self._ahead])
        if early:
            self._board.compare(minute, early, reference)
        if fresh:
            await self._append(minute, fresh, due, reference)
        refused: list[str] = []
        async with (
            self._computing(self._together, minute, early) as done,
            self._computing(self._together, minute, fresh) as new,
        ):
            for part, rows in (*done, *new):
                if not await self._written(connection, await rows):
                    refused += part
        for symbol in symbols:
            self._ahead.pop(symbol, None)
        return refused

    async def _compute_ahead(self) -> float:
        """Compute of the candles that wait for the reference all that is not compared with it; return in how
        many seconds there may be more to compute.

        Else a market's rows would all be computed after it, which may be the last candle of a minute.
        """
        ready: dict[int, list[str]] = defaultdict(list)
        for symbol, candles in self._pending.items():
            if len(candles) == 1 and self._board.end(symbol) == candles[0].time:
                ready[candles[0].time].append(symbol)
        if not ready or len(self._symbols) <= GATHERED_FROM:
            return STALE_POLL_SECONDS
        minute = min(ready)
        symbols = self._board.in_order(ready[minute])
        left = self._newest + GATHER_SECONDS - self._clock.monotonic()
        if len(symbols) < TOGETHER_MOST and left > 0:
            return left
        # No more than the threads do at once: the reference may come meanwhile.
        symbols = symbols[: THREADS * TOGETHER_MOST]
        await self._append(minute, symbols, self._pending, np.nan)
        async with self._computing(self._own, minute, symbols) as parts:
            for part, values in parts:
                self._ahead.update(zip(part, await values, strict=True))
        return 0.0

    async def _append(
        self, minute: int, ordered: list[str], waiting: dict[str, list[Candle]], reference: float
    ) -> None:
        """Add a minute's candles and books to the board."""
        candles = [waiting[symbol][0] for symbol in ordered]
        books = [self._take_book(symbol, minute) for symbol in ordered]
        await self._beside(self._board.append, minute, candles, books, reference)

    @asynccontextmanager
    async def _computing(
        self, call: Callable[[int, list[str]], T], minute: int, ordered: list[str]
    ) -> AsyncIterator[list[tuple[list[str], asyncio.Task[T]]]]:
        """What ``call`` makes of the symbols, in parts; none runs on behind the block."""
        # As many parts for each thread, all as large.
        count = THREADS * -(-len(ordered) // (THREADS * TOGETHER_MOST))
        most = max(TOGETHER_LEAST, -(-len(ordered) // max(count, 1)))
        parts = [
            (part, asyncio.create_task(self._beside(call, minute, part))) for part in _parts(ordered, most)
        ]
        try:
            yield parts
        finally:
            for _, one in parts:
                one.cancel()
            await asyncio.gather(*(one for _, one in parts), return_exceptions=True)

    def _own(self, minute: int, symbols: list[str]) -> Floats:
        """What a minute's rows have without the reference, NaN for the rest. Runs beside the event loop."""
        result = compute_instant(self._board.together(symbols, minute + MINUTE_MS), places=_OWN)
        values = np.full((len(symbols), len(NAMES)), np.nan)
        values[:, _OWN] = result.values
        return values

    def _together(self, minute: int, symbols: list[str]) -> Rows:
        """Compute the rows of a minute that is on the board, or the rest of them where all are computed
        ahead. Runs beside the event loop.
        """
        columns = self._board.together(symbols, minute + MINUTE_MS)
        if symbols[0] in self._ahead:
            result = compute_instant(columns, places=_COMPARED)
            values = np.stack([self._ahead[symbol] for symbol in symbols])
            values[:, _COMPARED] = result.values
            result = replace(result, values=values)
        else:
            result = compute_instant(columns)
        return Rows(symbols, result, _lacking(columns.part(MAX_WINDOW - CROSS_WINDOW, MAX_WINDOW), result))

    async def _others(
        self,
        connection: Connection,
        symbols: list[str],
        due: dict[str, list[Candle]],
        closes: dict[int, float],
    ) -> None:
        """Compute the rows of candles that are not just the next ones on the board.

        A minute between them came another way: a late frame, a repair, an outage. It may be stored, and its
        stale mark settled, by now: what these rows see must not be older, and is read again.
        """
        spans: dict[tuple[int, int], list[str]] = defaultdict(list)
        for symbol in symbols:
            if not await self._from_board(connection, symbol, due[symbol], closes):
                self._forget((symbol,))
                spans[due[symbol][0].time, due[symbol][-1].time + MINUTE_MS].append(symbol)
        for (start, end), those in sorted(spans.items()):
            for part in _parts(those, _loaded_at_once((end - start) // MINUTE_MS)):
                for symbol in part:
                    self._take_books(symbol, end)
                while not await self._from_database(connection, part, start, end):
                    pass

    async def _from_board(
        self, connection: Connection, symbol: str, candles: list[Candle], closes: dict[int, float]
    ) -> bool:
        """Compute a symbol's rows from the board, if it ends before them; return whether they are written."""
        start, end = candles[0].time, candles[-1].time + MINUTE_MS
        count = (end - start) // MINUTE_MS
        if self._board.end(symbol) != start or count != len(candles):
            return False
        if symbol != REFERENCE and start not in closes:
            return False
        before = self._board.columns(symbol)
        books = [
            (b.time, b.spread_bps, b.imbalance) for b in self._take_books(symbol, end) if b.time >= start
        ]
        later = Columns.from_rows(start, end, [candle[1:] for candle in candles], (), books)
        reference = [c.close if symbol == REFERENCE else closes[c.time] for c in candles]
        window = before.followed_by(replace(later, reference_close=np.array(reference)))
        result = await self._beside(compute, window, count)
        lacking = [] if symbol == REFERENCE else _lacking(window, result)
        if not await self._written(connection, Rows(symbol, result, lacking)):
            return False
        await self._beside(self._board.put, symbol, window)
        return True

    async def _from_database(self, connection: Connection, symbols: list[str], start: int, end: int) -> bool:
        """Compute the rows of the minutes ``[start, end)`` of several symbols from what is stored.

        False: the reference's candle came meanwhile, and the rows were not written.
        """
        count = (end - start) // MINUTE_MS
        window = await self._load(connection, symbols, start - (MAX_WINDOW - 1) * MINUTE_MS, end, count)
        rows = await self._beside(_rows, symbols, window, count)
        if not await self._written(connection, rows):
            return False
        await self._beside(self._board.put_all, symbols, window)
        return True

    async def _load(
        self, connection: Connection, symbols: list[str], start: int, end: int, rows: int
    ) -> Columns:
        """The windows of several symbols' newest ``rows`` minutes; of the books what these rows need."""
        books_from = max(start, end - (_BOOK_DEPTH + rows) * MINUTE_MS)
        return await windows.load_windows(
            connection, symbols, start, end, books_from=books_from, executor=self._threads
        )

    async def _written(self, connection: Connection, rows: Rows) -> bool:
        """Write live rows, unless what they were computed without has come: then return False."""
        written = 0
        async with connection.transaction(), store.still_lacking(connection, rows.lacking) as sure:
            if not sure:
                return False
            for part in _statements(rows):
                written += await store.insert(
                    connection, [(part.symbols, part.result)], known_at=self._market.now_ms
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
        """Compute stale rows of some symbols again, the newest first; return False when there are none."""
        alike: dict[tuple[tuple[int, int], ...], list[Stale]] = defaultdict(list)
        for one in await store.take_stales(connection, STALE_MOST, self._of):
            alike[tuple(one.ranges)].append(one)
        since = self._clock.monotonic()
        for ranges, those in alike.items():
            minutes = sum((end - start) // MINUTE_MS for start, end in ranges)
            for part in _parts(those, _loaded_at_once(minutes)):
                await self._refresh_part(connection, part, _chunks(ranges))
                if self._clock.monotonic() - since > STALE_SECONDS:
                    return True
        return bool(alike)

    async def _refresh_part(
        self, connection: Connection, part: list[Stale], chunks: list[tuple[int, int]]
    ) -> None:
        """Compute the same ranges of several symbols again.

        Live candles go first: after a chunk that finds some waiting, the rest is left for later.
        """
        symbols = [stale.symbol for stale in part]
        # Their minutes of the reference go with their own: whichever of the two changed.
        self._forget(symbols)
        rows = 0
        newest: Columns | None = None
        for place, (start, end) in enumerate(chunks):
            while (again := await self._again(connection, symbols, start, end)) is None:
                pass
            written, window = again
            rows += written
            if place == 0:
                newest = window
            if self._pending_count or self._overflowed:
                await self._live(connection)
                self._forget(symbols)
                newest = None
        if newest is not None:
            # Else the next minute would read the same from the database: for every symbol, after a repair of
            # the reference.
            await self._beside(self._put_up_to_the_last_candle, symbols, newest)
        await store.settle_stale(connection, [id_ for stale in part for id_ in stale.ids])
        if rows:
            log.info("features_recomputed", symbol=symbols[0], symbols=len(symbols), rows=rows)

    def _put_up_to_the_last_candle(self, symbols: list[str], window: Columns) -> None:
        stops = _stops(window)
        for stop in np.unique(stops).tolist():
            those = np.flatnonzero(stops == stop)
            minutes = window.part(0, stop)
            if len(those) < len(symbols):
                minutes = minutes.of(those)
            self._board.put_all([symbols[place] for place in those], minutes)

    async def _again(
        self, connection: Connection, symbols: list[str], start: int, end: int
    ) -> tuple[int, Columns] | None:
        """Compute the rows ``[start, end)`` (instants) from the database; return how many changed, and the
        minutes. None: the reference's candle came meanwhile, and the rows were not written.
        """
        first = start - (MAX_WINDOW + 1) * MINUTE_MS
        count = (end - start) // MINUTE_MS
        window = await self._load(connection, symbols, first, end - MINUTE_MS, count)
        # A range reaches as far as a repaired candle will: mostly into minutes that have not been yet.
        stop = int(_stops(window).max())
        count -= len(window) - stop
        if count < 1:
            return 0, window
        window = window.part(0, stop)
        rows = await self._beside(_rows, symbols, window, count)
        written = 0
        for part in _statements(rows):
            # Each for itself: where rows lack the reference's candle, its writer waits for no more than this.
            async with store.still_lacking(connection, part.lacking) as sure:
                if not sure:
                    return None
                written += await store.replace(
                    connection, part.symbols, part.result, known_at=self._market.now_ms
                )
        self._count("again", written, rows.result)
        return written, window

    def _count(self, path: str, written: int, result: Result) -> None:
        self.rows_written += written
        metrics.FEATURE_ROWS.labels(path).inc(written)
        if result.emit.any():
            self.newest_row = max(self.newest_row or 0, int(result.time[result.emit].max()))


def _rows(symbols: list[str], window: Columns, count: int) -> Rows:
    """The rows of the newest ``count`` minutes of several symbols, (symbols, minutes)."""
    result = compute_instant(window, count)
    lacking = [] if symbols == [REFERENCE] else _lacking(window, result)
    return Rows([symbol for symbol in symbols for _ in range(count)], result, lacking)


def _statements(rows: Rows) -> Iterator[Rows]:
    """The same rows for one statement each; those of several minutes of a symbol stay together."""
    if isinstance(rows.symbols, str):
        yield rows
        return
    each = len(rows.symbols) // len(set(rows.symbols))
    most = max(1, WRITTEN_MOST // each) * each
    for first in range(0, len(rows.symbols), most):
        part = slice(first, first + most)
        yield Rows(rows.symbols[part], rows.result.part(part), rows.lacking)


def _lacking(columns: Columns, result: Result) -> list[int]:
    """The minutes (Unix ms) of the reference that these rows, the newest, were computed without."""
    if not result.emit.any():
        return []
    first, last = int(result.time[0]), int(result.time[result.emit].max())
    near = (columns.time >= first - CROSS_WINDOW * MINUTE_MS) & (columns.time < last)
    absent = np.isnan(np.atleast_2d(columns.reference_close)).any(axis=0)
    found: list[int] = columns.time[near & absent].tolist()
    return found


def _stops(window: Columns) -> NDArray[np.intp]:
    """Of each symbol, how many minutes there are up to its last candle."""
    real = window.state == PRESENT
    n = real.shape[1]
    return np.where(real.any(axis=1), n - np.argmax(real[:, ::-1], axis=1), 0)


def _loaded_at_once(rows: int) -> int:
    """How many symbols' windows of so many rows are read at once."""
    return max(1, LOADED_MOST // (MAX_WINDOW + rows))


def _parts(whole: Sequence[T], most: int) -> Iterator[list[T]]:
    for first in range(0, len(whole), most):
        yield list(whole[first : first + most])


def _chunks(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same instants in pieces of CHUNK_MS at most, newest first."""
    return [
        (max(start, end - (n + 1) * CHUNK_MS), end - n * CHUNK_MS)
        for start, end in reversed(ranges)
        for n in range(-(-(end - start) // CHUNK_MS))
    ]

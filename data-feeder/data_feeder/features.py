"""Feature rows as candles are committed, and stale ones computed again. One task, so neither can
overtake the other."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Final

from data_feeder.board import LAG_MINUTES
from data_feeder.buffer import Item
from data_feeder.computer import TOGETHER_MOST, Computer, loadable
from data_feeder.live import Live
from data_feeder.patience import ReferencePatience
from data_feeder.refresher import Refresher
from data_feeder.rows import RowWriter
from data_feeder.waiting import Waiting
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock, MarketClock
from marketdata.database import COMMAND_TIMEOUT, TRANSIENT, Connection, connect, explain
from marketdata.features.columns import REFERENCE
from marketdata.features.registry import MAX_WINDOW
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.shards import WHOLE, Shard
from marketdata.store import features as store
from marketdata.store import shards, windows
from marketdata.store import symbols as symbols_store
from marketdata.store.books import BookMinute

log = get_logger(__name__)

STALE_POLL_SECONDS: Final = 1.0


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
        self.problem: str | None = None
        self.warm = False
        """Whether the symbols' windows are in memory, as far as they are stored."""
        self._settings = settings
        self._clock = clock
        self._symbols = shard.part(symbols)
        self._shard = shard
        self._of: tuple[str, ...] | None = None
        patience = ReferencePatience(captured=REFERENCE in symbols)
        elsewhere = REFERENCE in symbols and not shard.has(REFERENCE)
        self._waiting = Waiting(len(self._symbols), patience)
        self._computer = Computer()
        self._rows = RowWriter(market)
        self._live = Live(self._waiting, self._computer, self._rows, clock, patience if elsewhere else None)
        self._refresher = Refresher(self._computer, self._rows, clock, self._give_way)
        self._work = asyncio.Event()

    @property
    def rows_written(self) -> int:
        """Rows that were new or changed."""
        return self._rows.written

    @property
    def newest_row(self) -> int | None:
        """The newest instant (Unix ms) of a row."""
        return self._rows.newest

    @property
    def board_bytes(self) -> int:
        """The memory of the windows."""
        return self._computer.board.nbytes

    def offer(self, batch: list[Item], books: list[BookMinute], exact: bool) -> None:
        """Take note of committed candles and book minutes; never waits.

        ``exact``: the database holds the batch's heads as they are. Where it kept other numbers, or
        refused some, rows are computed from what it holds instead.
        """
        self._waiting.offer(batch, books, exact, self._clock.monotonic())
        # Also without a head: it may be the reference, however late.
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
            self._computer.forget()
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
        board = self._computer.board
        board.reserve(len(self._symbols))
        for end, symbols in sorted(ends.items(), reverse=True):
            for part in loadable(symbols, 0):
                start = end - MAX_WINDOW * MINUTE_MS
                window = await self._computer.load(connection, part, start, end, 1)
                await self._computer.put(part, window)
        if self._waiting.gathers and ends:
            end = max(ends)
            symbols = board.in_order([symbol for symbol in ends[end] if board.end(symbol) == end])
            await self._computer.rehearse(end - MINUTE_MS, symbols[:TOGETHER_MOST])

    async def _serve(self, connection: Connection) -> AsyncIterator[None]:
        """Compute for ever; yields after each turn that succeeded."""
        stale_at = self._clock.monotonic()
        while True:
            self._work.clear()
            wait = await self._catch_up(connection)
            now = self._clock.monotonic()
            if now >= stale_at and not await self._refresher.turn(connection, self._of):
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

    async def _catch_up(self, connection: Connection) -> float:
        """Compute the rows that are due; return in how many seconds the next one is that waits."""
        if self._waiting.take_overflow():
            self._computer.forget()
            await store.mark_unfinished(connection, self._of)
        return await self._live.turn(connection)

    async def _give_way(self, connection: Connection) -> bool:
        """Compute what is due, if anything waits; return whether anything did."""
        if self._waiting.empty:
            return False
        await self._catch_up(connection)
        return True

"""The one writer of live candles: a batch as soon as the connection is free, nothing dropped on failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache
from typing import Final

import asyncpg

from data_feeder.buffer import CAPACITY, Buffer, Item
from data_feeder.sequence import Hole
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.candles import candle_problem
from marketdata.clock import Clock, MarketClock
from marketdata.database import COMMAND_TIMEOUT, OPERATOR, TRANSIENT, Connection, connect, explain
from marketdata.log import get_logger
from marketdata.minutes import floor_minute, isoformat
from marketdata.models import MINUTE_MS, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import books, candles, ledger
from marketdata.store.books import BookMinute
from marketdata.store.ledger import Gap

log = get_logger(__name__)

PULSE_SECONDS: Final = 3.0
_PULSE_TIMEOUT: Final = 10.0

OnCommit = Callable[[list[Item], list[BookMinute], bool], None]
OnGaps = Callable[[list[Gap]], None]


async def _pulse(connection: Connection) -> None:
    """Raise when the database died or takes no writes: to be noticed before the next candle is due."""
    if await connection.fetchval("SHOW transaction_read_only", timeout=_PULSE_TIMEOUT) == "on":
        raise asyncpg.ReadOnlySQLTransactionError("the database takes no writes")


def owed(item: Item) -> Hole:
    """Return the minute of a candle that was refused: the exchange's own record may have it right."""
    minute = floor_minute(item.candle.time)
    return Hole(item.candle.symbol, minute, minute + MINUTE_MS, "invalid")


def refused_holes(batch: Iterable[Item]) -> list[Hole]:
    """Return the minutes of a written batch whose candles are in the ledger as invalid instead."""
    return [owed(item) for item in batch if candle_problem(item.candle)]


class Writer:
    """Commits what the buffer holds, in order: holes, book minutes, candles.

    ``on_commit`` is called after each commit with the candles and book minutes written, and whether
    the database now holds the heads among them as they are; ``on_gaps`` with every gap newly opened.
    ``committed`` is the newest minute committed of each symbol (open, ms). ``connected`` means that the
    database did the last thing asked of it; else ``problem`` says what is in the way. ``reconnected`` is
    set when it works again.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        buffer: Buffer,
        market: MarketClock,
        clock: Clock,
        *,
        symbols: Iterable[str],
        head: int,
        batch_max_rows: int,
        on_commit: OnCommit,
        on_gaps: OnGaps,
    ) -> None:
        self.connected = False
        self.problem: str | None = None
        self.candles_processed = 0
        self.last_candle_time: int | None = None
        self._settings = settings
        self._buffer = buffer
        self._market = market
        self._clock = clock
        self.committed = dict.fromkeys(symbols, head)
        self.reconnected = asyncio.Event()
        self._exact = True
        self._most = self._limit = batch_max_rows
        self._on_commit = on_commit
        self._on_gaps = on_gaps
        self._books_committed: list[BookMinute] = []
        self._last_candle = cache(metrics.LAST_CANDLE_TIME.labels)
        self._unsaid = 0
        self._said_at = -1.0

    async def run(self) -> None:
        """Write until cancelled; a database that fails is waited for, with everything kept."""
        waits = delays(0.2, 10.0)
        while True:
            try:
                connection = await connect(
                    self._settings, "data-feeder-writer", command_timeout=COMMAND_TIMEOUT
                )
                try:
                    async for _ in self._serve(connection):
                        if not self.connected:
                            self.connected, self.problem = True, None
                            log.info("database_connected", buffered=len(self._buffer))
                            self.reconnected.set()
                            waits = delays(0.2, 10.0)
                finally:
                    connection.terminate()
            except Exception as error:
                self._failed(error)
            await self._clock.sleep(next(waits))

    def _failed(self, error: Exception) -> None:
        """Say what is in the way; everything is kept, whatever it is."""
        metrics.WRITE_FAILURES.labels(Source.STREAM.value).inc()
        lost, self.connected = self.connected, False
        if isinstance(error, OPERATOR):
            self.problem = f"the database refuses {self._settings.user}: {explain(error)}"
            log.error("database_refuses", reason=explain(error), buffered=len(self._buffer))
        elif isinstance(error, TRANSIENT):
            self.problem = explain(error)
            if lost:
                log.warning("database_lost", reason=explain(error), buffered=len(self._buffer))
        else:
            # The database's own defect or ours: neither may cost a candle or end the task.
            self.problem = f"an unexpected error: {explain(error)}"
            metrics.TASK_FAILURES.labels("writer").inc()
            log.exception("write_failed", reason=repr(error), buffered=len(self._buffer))

    async def _serve(self, connection: Connection) -> AsyncIterator[None]:
        """Write for ever; yields after each turn that succeeded."""
        while True:
            if self._buffer.idle and self.connected:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PULSE_SECONDS):
                        await self._buffer.wait()
            if self._buffer.idle:
                await _pulse(connection)
            if not self._buffer.candles_alone:
                await self._record_holes(connection)
                await self._record_notes(connection)
            if not self._buffer.idle:
                await self._write_waiting(connection)
            yield

    async def _write_waiting(self, connection: Connection) -> None:
        batch = self._buffer.peek(self._limit)
        # Before their candles: the features of a candle need its minute of the book.
        # Kept until it is told: the connection may be lost before the candles are committed.
        if self._buffer.books:
            self._books_committed += await self._write_books(connection)
            del self._books_committed[:-CAPACITY]
        committed = await self._write(connection, batch) if batch else []
        if committed or self._books_committed:
            self._on_commit(committed, self._books_committed, self._exact)
            self._books_committed = []

    async def _write(self, connection: Connection, batch: list[Item]) -> list[Item]:
        """Commit a batch and return it; empty when a row in it was refused."""
        invalid = 0
        try:
            for is_head in (True, False):
                rows = [item for item in batch if item.is_head is is_head]
                if rows:
                    written = await candles.write(connection, rows, source=Source.STREAM, head=is_head)
                    self.candles_processed += len(rows) - written.invalid
                    invalid += written.invalid
                    if is_head:
                        # Else the database holds other numbers than these, or refused some.
                        self._exact = written.inserted == len(rows)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            await self._isolate(connection, batch, error)
            return []
        now = self._clock.monotonic()
        self._limit = self._most
        self._buffer.drop(batch)
        if invalid:
            for hole in refused_holes(batch):
                self._buffer.add_hole(hole)
        metrics.FRAME_TO_COMMIT_SECONDS.observe_all([now - item.received for item in batch])
        newest: dict[str, int] = {}
        for item in batch:
            symbol, time = item[0][:2]
            if time > newest.get(symbol, 0):
                newest[symbol] = time
        for symbol, time in newest.items():
            if time > self.committed.get(symbol, 0):
                self.committed[symbol] = time
                self._last_candle(symbol).set(time / 1000)
        self.last_candle_time = max(*newest.values(), self.last_candle_time or 0)
        self._say(len(batch), now - batch[0].received)
        return batch

    def _say(self, rows: int, seconds: float) -> None:
        """Log what was written, at most a line a second however fast the batches follow."""
        self._unsaid += rows
        now = self._clock.monotonic()
        if now - self._said_at >= 1.0:
            log.info(
                "candles_written",
                rows=self._unsaid,
                newest=isoformat(self.last_candle_time or 0),
                frame_to_commit_ms=round(seconds * 1000, 2),
            )
            self._unsaid, self._said_at = 0, now

    async def _isolate(self, connection: Connection, batch: list[Item], error: asyncpg.PostgresError) -> None:
        """Halve a refused batch until the row at fault stands alone, and keep that one in the ledger."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return
        log.error("candle_refused", candle=batch[0].candle, reason=str(error))
        await ledger.record_invalid(connection, batch[0].candle, Source.STREAM, str(error))
        self._buffer.drop(batch)
        self._buffer.add_hole(owed(batch[0]))

    async def _write_books(self, connection: Connection) -> list[BookMinute]:
        """Commit the book minutes taken from the buffer and return them."""
        rows = self._buffer.take_books()
        if rows:
            try:
                await books.write(connection, rows, known_at=self._market.now_ms)
            except BaseException:
                self._buffer.put_back(books=rows)
                raise
        return rows

    async def _record_notes(self, connection: Connection) -> None:
        notes = self._buffer.take_notes()
        while notes:
            note = notes[0]
            try:
                await ledger.note(connection, note.event_type, note.symbol, detail=note.detail)
            except BaseException:
                self._buffer.put_back(notes=notes)
                raise
            notes.pop(0)

    async def _record_holes(self, connection: Connection) -> None:
        holes = self._buffer.take_holes()
        while holes:
            hole = holes[0]
            try:
                gaps = await ledger.record_missing(connection, hole.symbol, hole.start, hole.end, hole.cause)
            except BaseException:
                for kept in holes:
                    self._buffer.add_hole(kept)
                raise
            holes.pop(0)
            self._on_gaps(gaps)

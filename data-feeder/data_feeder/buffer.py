"""Final candles between the socket and the database: bounded, and never lost in silence."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from data_feeder.sequence import Hole
from marketdata import metrics
from marketdata.models import MINUTE_MS, Candle
from marketdata.store.books import BookMinute

CAPACITY: Final = 50_000
"""Candles held while the database is away: half an hour of 1,500 symbols."""
PRESS_BACK_SECONDS: Final = 20.0
"""How long a full buffer leaves the socket unread: longer, and the server's pings go unanswered."""

NOTES_MOST: Final = 1_000


class Item(NamedTuple):
    """A final candle on its way. ``known_at`` is exchange time (ms), ``received`` local seconds."""

    candle: Candle
    known_at: int
    received: float
    is_head: bool


class Note(NamedTuple):
    """Something that happened to the data and is complete as it stands, for the ledger."""

    event_type: str
    symbol: str | None
    detail: dict[str, str]


class Buffer:
    """What the writer has to do. Candles stay here until they are committed."""

    def __init__(self, capacity: int = CAPACITY, press_back: float = PRESS_BACK_SECONDS) -> None:
        self._capacity = capacity
        self._press_back = press_back
        self._candles: deque[Item] = deque()
        self.books: list[BookMinute] = []
        self.holes: list[Hole] = []
        self.notes: list[Note] = []
        self._shed: dict[str, tuple[int, int]] = {}
        self._given_up = False
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._drained = asyncio.Event()
        self._drained.set()

    def __len__(self) -> int:
        """The number of candles waiting."""
        return len(self._candles)

    @property
    def oldest(self) -> float | None:
        """Local time (monotonic seconds) at which the oldest waiting candle came; None when empty."""
        return self._candles[0].received if self._candles else None

    async def put(self, item: Item) -> None:
        """Add a candle. A full buffer waits for room at most ``press_back`` seconds, then gives its
        oldest candle up, which becomes a hole for the ledger.
        """
        if len(self._candles) >= self._capacity and not self._given_up:
            self._room.clear()
            try:
                async with asyncio.timeout(self._press_back):
                    await self._room.wait()
            except TimeoutError:
                # From here on the socket is read at full speed until the database makes room.
                self._given_up = True
            except asyncio.CancelledError:
                # The socket ends, not the candle: its sequence has counted it as seen.
                self._append(item)
                raise
        self._append(item)

    def _append(self, item: Item) -> None:
        while len(self._candles) >= self._capacity:
            self._give_up(self._candles.popleft().candle)
        self._candles.append(item)
        if len(self._candles) == 1:
            self._work.set()
            self._drained.clear()

    def add_books(self, rows: list[BookMinute]) -> None:
        """Add finished minutes of the book; the oldest fall out beyond the capacity."""
        if rows:
            self.books.extend(rows)
            shed = len(self.books) - self._capacity
            if shed > 0:
                # The book cannot be asked for again: its features are null in these minutes.
                metrics.BOOK_MINUTES_SHED.inc(shed)
                del self.books[:shed]
            self._work.set()

    def add_hole(self, hole: Hole) -> None:
        """Add a hole for the ledger; beyond the capacity the oldest are left to the next audit."""
        self.holes.append(hole)
        del self.holes[: -self._capacity]
        self._work.set()

    def add_note(self, note: Note) -> None:
        """Add an event; it never wakes the writer alone, and the oldest fall out beyond a thousand."""
        self.notes.append(note)
        del self.notes[:-NOTES_MOST]

    def put_back(self, books: Sequence[BookMinute] = (), notes: Sequence[Note] = ()) -> None:
        """Take back, as the oldest, what could not be written."""
        newer, self.books = self.books, []
        self.add_books([*books, *newer])
        self.notes = [*notes, *self.notes][-NOTES_MOST:]

    def _give_up(self, candle: Candle) -> None:
        """Remember a range a symbol, however many candles are given up: the ledger asks what is stored."""
        start, end = self._shed.get(candle.symbol, (candle.time, candle.time))
        self._shed[candle.symbol] = min(start, candle.time), max(end, candle.time + MINUTE_MS)
        metrics.CANDLES_SHED.inc()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._work.is_set()

    @property
    def candles_alone(self) -> bool:
        """Whether nothing waits but candles, as nearly always."""
        return not (self.books or self.holes or self.notes or self._shed)

    async def wait(self) -> None:
        """Return when there is something to do."""
        await self._work.wait()

    async def drained(self) -> None:
        """Return when every candle is committed."""
        await self._drained.wait()

    def peek(self, most: int) -> list[Item]:
        """Return the oldest candles, at most ``most``; they stay until ``drop``."""
        return list(islice(self._candles, most))

    def drop(self, batch: list[Item]) -> None:
        """Remove a committed batch, but for what was given up meanwhile."""
        candles = self._candles
        if batch and candles and candles[0] is batch[0]:
            for _ in batch:
                candles.popleft()
        else:
            committed = {id(item) for item in batch}
            while candles and id(candles[0]) in committed:
                candles.popleft()
        self._given_up = False
        self._settle()
        self._room.set()

    def _settle(self) -> None:
        if not self._candles:
            self._drained.set()
        if not (self._candles or self.books or self.holes or self._shed):
            self._work.clear()

    def take_books(self) -> list[BookMinute]:
        """Return the book rows waiting and forget them."""
        rows, self.books = self.books, []
        self._settle()
        return rows

    def take_notes(self) -> list[Note]:
        """Return the events waiting and forget them."""
        notes, self.notes = self.notes, []
        return notes

    def take_holes(self) -> list[Hole]:
        """Return the holes waiting, with the ranges given up, and forget them."""
        holes = self.holes + [Hole(symbol, *span, "buffer") for symbol, span in self._shed.items()]
        self.holes, self._shed = [], {}
        self._settle()
        return holes

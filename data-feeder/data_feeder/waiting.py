"""Committed candles and book minutes whose rows are still to come, and which of them are due. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from data_feeder.buffer import Item
from data_feeder.computer import TOGETHER_MOST
from data_feeder.patience import ReferencePatience
from marketdata.models import MINUTE_MS, Candle
from marketdata.store.books import BookMinute

PENDING_MOST: Final = 20_000
"""Candles kept for the live path; beyond that their rows are left to ``mark_unfinished``."""
BOOKS_MOST: Final = 1440
"""Book minutes of a symbol kept for candles still to come."""
GATHER_SECONDS: Final = 0.05
"""Where many symbols are captured, candles of one minute are waited for until so long none has come, or
TOGETHER_MOST have: to compute one symbol's row costs half of what a hundred's do."""
GATHERED_FROM: Final = 32
"""Symbols from which on that is worth the wait."""
GATHER_MOST: Final = 0.25
"""Longer than this, in seconds, none waits for others."""


class Waiting:
    """What waits for its turn, of ``symbols`` that are captured here; times are local, monotonic seconds."""

    def __init__(self, symbols: int, patience: ReferencePatience) -> None:
        self.gathers = symbols > GATHERED_FROM
        """Whether candles of one minute wait for each other."""
        self.since = 0.0
        """When the first of the candles came that wait."""
        self._patience = patience
        self._pending: dict[str, list[Candle]] = defaultdict(list)
        self._count = 0
        self._newest = 0.0
        self._books: dict[str, dict[int, BookMinute]] = defaultdict(dict)
        self._overtaken: set[str] = set()
        self._overflowed = False

    @property
    def empty(self) -> bool:
        """Whether there is no candle to compute a row of."""
        return not self._count and not self._overflowed

    def offer(self, batch: list[Item], books: list[BookMinute], exact: bool, now: float) -> None:
        """Take note of committed candles and book minutes, as ``FeatureTask.offer`` does."""
        for row in books:
            waiting = self._books[row.symbol]
            waiting[row.time] = row
            if len(waiting) > BOOKS_MOST:
                # A symbol whose candles do not come: what it needs then is read from the database.
                waiting.clear()
                self._overtaken.add(row.symbol)
        for item in batch:
            self._patience.committed(item.candle, now)
        head = [item for item in batch if item.is_head]
        if not head:
            return
        if not exact or self._count + len(head) > PENDING_MOST:
            self._overflowed = True
            self._pending.clear()
            self._count = 0
            return
        self._newest = now
        if not self._count:
            self.since = now
        for item in head:
            self._pending[item.candle.symbol].append(item.candle)
        self._count += len(head)

    def take_overflow(self) -> bool:
        """Return whether candles were left to the database since this was asked."""
        overflowed, self._overflowed = self._overflowed, False
        return overflowed

    def take_overtaken(self) -> set[str]:
        """Return the symbols whose book minutes were left to the database since this was asked."""
        overtaken, self._overtaken = self._overtaken, set()
        return overtaken

    def take_due(self, now: float) -> tuple[dict[str, list[Candle]], float]:
        """Take the candles whose rows wait for nothing, and how long the next of the others waits."""
        if self.gathers and 0 < self._count < TOGETHER_MOST:
            left = min(self._newest, self.since + GATHER_MOST) + GATHER_SECONDS - now
            if left > 0:
                return {}, left
        due: dict[str, list[Candle]] = {}
        kept: dict[str, list[Candle]] = defaultdict(list)
        soonest = math.inf
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
        self._count = sum(map(len, kept.values()))
        return due, soonest

    def single(self) -> Iterator[Candle]:
        """The candles that wait, of symbols that have one."""
        return (candles[0] for candles in self._pending.values() if len(candles) == 1)

    def gathering(self, count: int, now: float) -> float:
        """Return how many seconds a minute of which ``count`` candles are here waits for more of them."""
        return 0.0 if count >= TOGETHER_MOST else max(0.0, self._newest + GATHER_SECONDS - now)

    def take_book(self, symbol: str, minute: int) -> tuple[float, float]:
        """Return the spread and the imbalance of a minute, NaN where the book was not seen."""
        for book in self.take_books(symbol, minute + MINUTE_MS):
            if book.time == minute:
                return book.spread_bps, book.imbalance
        return np.nan, np.nan

    def take_books(self, symbol: str, end: int) -> list[BookMinute]:
        """Return the book minutes before ``end`` and forget them.

        Those of later minutes wait for their candles, which may be committed in a later batch.
        """
        waiting = self._books[symbol]
        return [waiting.pop(time) for time in [time for time in waiting if time < end]]

"""The newest minutes of many symbols as arrays of (symbols, minutes), one minute added at a time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketdata.features.columns import (
    BOOK,
    CANDLE_ROW,
    MISSING,
    PRESENT,
    REFERENCE,
    Columns,
    Floats,
)
from marketdata.models import MINUTE_MS, Candle

LAG_MINUTES: Final = 60
"""How far a symbol may be behind the newest before its minutes make room for others'."""
SLACK_MINUTES: Final = 180
"""Minutes added in place; then those still needed move to the front: tens of milliseconds once in hours."""

_VALUES: Final = (*CANDLE_ROW[1:], *BOOK, "reference_close")

Slots = slice | NDArray[np.intp]


class Board:
    """``window`` minutes of every symbol on it, at least, up to a minute of each symbol's own.

    Every symbol is a row and every minute a column of the same arrays, so that what comes of one minute is
    computed together, from views. A symbol that is not on it up to the minute before is brought by ``put``.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._width = window + LAG_MINUTES + SLACK_MINUTES
        self._start = 0
        self._slots: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._values: dict[str, Floats] = {name: np.full((0, self._width), np.nan) for name in _VALUES}
        self._state = np.full((0, self._width), MISSING, dtype=np.uint8)

    def end(self, symbol: str) -> int | None:
        """The first minute (Unix ms) that is not on the board; None for a symbol that is not."""
        return self._ends.get(symbol)

    def drop(self, symbol: str) -> None:
        """Forget a symbol's minutes: the database holds others."""
        self._ends.pop(symbol, None)

    def clear(self) -> None:
        """Forget every symbol's minutes."""
        self._ends.clear()

    def columns(self, symbol: str) -> Columns:
        """A copy of the newest ``window`` minutes of a symbol that is on the board."""
        row, stop = self._slots[symbol], self._place(self._ends[symbol])
        return self._view(row, stop - self._window, stop, copy=True)

    def put(self, symbol: str, minutes: Columns) -> None:
        """Take a symbol's minutes, at least ``window`` of them; ``append`` goes on behind the newest.

        A symbol further behind the others than the board reaches is left out.
        """
        self.drop(symbol)
        end = int(minutes.time[-1]) + MINUTE_MS
        if len(minutes) < self._window:
            return
        self._make_room(end)
        stop = self._place(end)
        if stop < self._window:
            return
        row = self._slots.setdefault(symbol, len(self._slots))
        self._grow(row)
        newest = slice(len(minutes) - self._window, len(minutes))
        for name, values in self._values.items():
            values[row, stop - self._window : stop] = getattr(minutes, name)[newest]
        self._state[row, stop - self._window : stop] = minutes.state[newest]
        self._ends[symbol] = end

    def append(
        self,
        minute: int,
        candles: Sequence[Candle],
        books: Sequence[tuple[float, float]],
        reference_close: float,
    ) -> None:
        """Add one minute (Unix ms) of symbols that are on the board up to it.

        ``books`` has the spread and the imbalance of each candle's symbol, NaN where its book was not seen;
        ``reference_close`` is the REFERENCE's close of that minute, NaN where it is not known.
        """
        self._make_room(minute + MINUTE_MS)
        place = self._place(minute)
        rows = np.array([self._slots[candle.symbol] for candle in candles])
        table = np.array([candle[2:] for candle in candles], dtype=np.float64)
        for name, column in zip(CANDLE_ROW[1:], table.T, strict=True):
            self._values[name][rows, place] = column
        for name, column in zip(BOOK, np.array(books, dtype=np.float64).T, strict=True):
            self._values[name][rows, place] = column
        self._values["reference_close"][rows, place] = reference_close
        self._state[rows, place] = PRESENT
        for candle in candles:
            self._ends[candle.symbol] = minute + MINUTE_MS
            if candle.symbol == REFERENCE:
                self._values["reference_close"][self._slots[REFERENCE], place] = candle.close

    def together(self, symbols: Sequence[str], end: int) -> Columns:
        """The newest ``window`` minutes before ``end`` of symbols that are on the board up to it."""
        stop = self._place(end)
        rows = np.array([self._slots[symbol] for symbol in symbols])
        first = int(rows[0])
        if np.array_equal(rows, np.arange(first, first + len(rows))):
            return self._view(slice(first, first + len(rows)), stop - self._window, stop)
        return self._view(rows, stop - self._window, stop)

    def in_order(self, symbols: Sequence[str]) -> list[str]:
        """The same symbols in the order of their rows: what lies together is read without a copy."""
        return sorted(symbols, key=self._slots.__getitem__)

    def _view(self, rows: Slots | int, first: int, stop: int, *, copy: bool = False) -> Columns:
        parts = {name: values[rows, first:stop] for name, values in self._values.items()}
        state = self._state[rows, first:stop]
        if copy:
            parts, state = {name: part.copy() for name, part in parts.items()}, state.copy()
        time = self._start + MINUTE_MS * np.arange(first, stop, dtype=np.int64)
        return Columns(time=time, state=state, **parts)

    def _place(self, minute: int) -> int:
        return (minute - self._start) // MINUTE_MS

    def _make_room(self, end: int) -> None:
        """Let ``end`` be on the board: the oldest columns go, and with them who is far behind."""
        if self._place(end) <= self._width and self._ends:
            return
        start = end - (self._window + LAG_MINUTES) * MINUTE_MS
        gone = self._place(start)
        self._start = start
        if 0 < gone < self._width:
            for values in self._values.values():
                values[:, : self._width - gone] = values[:, gone:]
            self._state[:, : self._width - gone] = self._state[:, gone:]
        for symbol, last in list(self._ends.items()):
            if last < start + self._window * MINUTE_MS:
                del self._ends[symbol]

    def _grow(self, row: int) -> None:
        have = len(self._state)
        if row < have:
            return
        # By a quarter at least, so that a thousand symbols are not a thousand copies.
        more = max(16, have // 4, row + 1 - have)
        for name, values in self._values.items():
            self._values[name] = np.concatenate((values, np.full((more, self._width), np.nan)))
        self._state = np.concatenate((self._state, np.full((more, self._width), MISSING, dtype=np.uint8)))

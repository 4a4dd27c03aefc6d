"""The newest minutes of many symbols as arrays, one minute added at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

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

LAG_MINUTES: Final = 15
"""How far a symbol may be behind the newest before its minutes make room for others'."""
SLACK_MINUTES: Final = 45
"""Minutes added in place; then those still needed move to the front."""

_VALUES: Final = (*CANDLE_ROW[1:], *BOOK, "reference_close")

Slots: TypeAlias = slice | NDArray[np.intp]
Number = TypeVar("Number", np.float64, np.uint8)


class Board:
    """``window`` minutes of every symbol on it, at least, up to a minute of each symbol's own.

    Every minute is a row and every symbol a column of the same arrays, so that what comes of one minute is
    computed together, from views. Of what ``depths`` names, it holds so many minutes only: NaN before. A
    symbol that is not on it up to the minute before is brought by ``put``.
    """

    def __init__(self, window: int, depths: Mapping[str, int] | None = None) -> None:
        self._window = window
        self._start = 0
        self._slots: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        depths = dict.fromkeys(_VALUES, window) if depths is None else depths
        self._depths = {name: max(1, depths.get(name, 0)) for name in _VALUES}
        room = LAG_MINUTES + SLACK_MINUTES
        self._width = window + room
        self._values: dict[str, Floats] = {
            name: np.empty((depth + room, 0)) for name, depth in self._depths.items()
        }
        self._state = np.empty((self._width, 0), dtype=np.uint8)

    @property
    def nbytes(self) -> int:
        """The memory of its arrays."""
        return self._state.nbytes + sum(values.nbytes for values in self._values.values())

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
        minutes = self.together((symbol,), self._ends[symbol])
        whole = {name: np.full(self._window, np.nan) for name in _VALUES}
        for name, depth in self._depths.items():
            kept = min(depth, self._window)
            values = minutes.part(self._window - kept, self._window)
            whole[name][self._window - kept :] = getattr(values, name)[0]
        return Columns(time=minutes.time, state=minutes.state[0].copy(), **whole)

    def reserve(self, symbols: int) -> None:
        """Make room for so many symbols and no more; what comes beyond makes its own."""
        self._grow(symbols - 1, symbols)

    def put(self, symbol: str, minutes: Columns) -> None:
        """Take a symbol's minutes, at least ``window`` of them; ``append`` goes on behind the newest.

        A symbol further behind the others than the board reaches is left out.
        """
        self.put_all((symbol,), minutes)

    def put_all(self, symbols: Sequence[str], minutes: Columns) -> None:
        """Take the same minutes of several symbols: ``minutes`` is (symbols, minutes), or of a single one."""
        for symbol in symbols:
            self.drop(symbol)
        if len(minutes) < self._window:
            return
        end = int(minutes.time[-1]) + MINUTE_MS
        self._make_room(end)
        stop = self._place(end)
        if stop < self._window:
            return
        rows = [self._slots.setdefault(symbol, len(self._slots)) for symbol in symbols]
        self._grow(max(rows), len(self._slots))
        for name, values in self._values.items():
            depth = min(self._depths[name], self._window)
            last = stop - self._before(name)
            newest = np.atleast_2d(getattr(minutes, name))[:, len(minutes) - depth :]
            values[last - depth : last, rows] = newest.T
        state = np.atleast_2d(minutes.state)[:, len(minutes) - self._window :]
        self._state[stop - self._window : stop, rows] = state.T
        self._ends.update(dict.fromkeys(symbols, end))

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
            self._values[name][place - self._before(name), rows] = column
        for name, column in zip(BOOK, np.array(books, dtype=np.float64).T, strict=True):
            self._values[name][place - self._before(name), rows] = column
        closes = self._values["reference_close"][place - self._before("reference_close")]
        closes[rows] = reference_close
        self._state[place, rows] = PRESENT
        for candle in candles:
            self._ends[candle.symbol] = minute + MINUTE_MS
            if candle.symbol == REFERENCE:
                closes[self._slots[REFERENCE]] = candle.close

    def compare(self, minute: int, symbols: Sequence[str], reference_close: float) -> None:
        """Set the REFERENCE's close of a minute (Unix ms) beside symbols that are on the board up to it."""
        place = self._place(minute) - self._before("reference_close")
        self._values["reference_close"][place, [self._slots[symbol] for symbol in symbols]] = reference_close

    def together(self, symbols: Sequence[str], end: int) -> Newest:
        """The newest ``window`` minutes before ``end`` of symbols that are on the board up to it."""
        stop = self._place(end)
        rows = np.array([self._slots[symbol] for symbol in symbols])
        first = int(rows[0])
        slots: Slots = rows
        if np.array_equal(rows, np.arange(first, first + len(rows))):
            slots = slice(first, first + len(rows))
        values = {}
        for name, column in self._values.items():
            last, depth = stop - self._before(name), min(self._depths[name], self._window)
            values[name] = _chosen(column[last - depth : last], slots).T
        time = self._start + MINUTE_MS * np.arange(stop - self._window, stop, dtype=np.int64)
        return Newest(time, _chosen(self._state[stop - self._window : stop], slots).T, values)

    def in_order(self, symbols: Sequence[str]) -> list[str]:
        """The same symbols in the order of their places: what lies together is read without a copy."""
        return sorted(symbols, key=self._slots.__getitem__)

    def _place(self, minute: int) -> int:
        return (minute - self._start) // MINUTE_MS

    def _before(self, name: str) -> int:
        """How many of the board's oldest minutes a column does without."""
        return self._width - len(self._values[name])

    def _make_room(self, end: int) -> None:
        """Let ``end`` be on the board: the oldest minutes go, and with them who is far behind."""
        if self._place(end) <= self._width and self._ends:
            return
        start = end - (self._window + LAG_MINUTES) * MINUTE_MS
        gone = self._place(start)
        self._start = start
        if 0 < gone < self._width:
            for values in self._values.values():
                values[: max(0, len(values) - gone)] = values[gone:]
            self._state[: self._width - gone] = self._state[gone:]
        for symbol, last in list(self._ends.items()):
            if last < start + self._window * MINUTE_MS:
                del self._ends[symbol]

    def _grow(self, row: int, symbols: int) -> None:
        have = self._state.shape[1]
        if row < have:
            return
        # By an eighth at least, so that a thousand symbols are not a thousand copies.
        wide = max(symbols, have + have // 8)
        for name, values in self._values.items():
            wider = np.full((len(values), wide), np.nan)
            wider[:, :have] = values
            self._values[name] = wider
        state = np.full((self._width, wide), MISSING, dtype=np.uint8)
        state[:, :have] = self._state
        self._state = state


def _chosen(values: NDArray[Number], slots: Slots) -> NDArray[Number]:
    """Some symbols of (minutes, symbols): a view, or where they lie scattered a copy."""
    if isinstance(slots, slice):
        return values[:, slots]
    # In half the time of values[:, slots].
    return np.take(values, slots, axis=1, mode="clip")


@dataclass(frozen=True, slots=True, eq=False)
class Newest:
    """What ``Board.together`` returns: ``time`` and ``state`` as in Columns, of ``values`` the newest."""

    time: NDArray[np.int64]
    state: NDArray[np.uint8]
    values: dict[str, Floats]

    def __len__(self) -> int:
        """The number of minutes."""
        return len(self.time)

    def check(self) -> None:
        """Nothing: they are consecutive by themselves."""

    def part(self, first: int, stop: int, symbols: slice = slice(None)) -> Columns:
        """The minutes ``first`` to ``stop`` (exclusive), as views; NaN where a column does not reach back."""
        n = len(self.time)
        state = self.state[symbols, first:stop]
        nothing = np.broadcast_to(np.nan, state.shape)
        values = {
            name: column[symbols, first - n + column.shape[1] : stop - n + column.shape[1]]
            if column.shape[1] >= n - first
            else nothing
            for name, column in self.values.items()
        }
        return Columns(time=self.time[first:stop], state=state, **values)

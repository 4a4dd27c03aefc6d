"""Consecutive minutes as arrays, of one symbol or of many: what every feature is computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from marketdata.models import MINUTE_MS
from marketdata.reach import REFERENCE as REFERENCE

Floats = NDArray[np.float64]
Derived = TypeVar("Derived")

PRESENT: Final = 0
"""A real candle, whether or not anything traded in it."""
FLAT: Final = 1
"""A minute of an exchange outage: flat at the previous close, no volume, no trades."""
MISSING: Final = 2
"""A minute nobody has looked at yet: NaN in every candle column."""

PRICES: Final = ("open", "high", "low", "close")
FLOWS: Final = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
BOOK: Final = ("spread_bps", "imbalance")
CANDLE_ROW: Final = ("time", *PRICES, *FLOWS)
"""The order of the ten numbers of a candle row: ``marketdata.models.Candle`` without its symbol."""
BOOK_ROW: Final = ("time", *BOOK)
"""The order of the three numbers of a book row."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Arrays with one element a minute, oldest first, no minute left out.

    ``time`` is the open of each minute in Unix milliseconds, of shape (minutes,). All others have that
    shape too, or (symbols, minutes). Prices are in the quote asset, ``spread_bps`` in basis points of the
    mid, ``imbalance`` in [-1, 1]; both are NaN where the book was not seen. ``reference_close`` is the
    close of the REFERENCE symbol in the same minute, NaN where that is missing or unknown. ``state`` says
    of each minute whether it is PRESENT, FLAT or MISSING.
    """

    time: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Floats
    taker_buy_volume: Floats
    taker_buy_quote_volume: Floats
    spread_bps: Floats
    imbalance: Floats
    reference_close: Floats
    state: NDArray[np.uint8]
    _derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_rows(
        cls,
        start_ms: int,
        end_ms: int,
        candles: Iterable[Sequence[float]] | Floats,
        outages: Iterable[tuple[int, int]] = (),
        books: Iterable[Sequence[float]] | Floats = (),
        previous_close: float = np.nan,
    ) -> Columns:
        """Lay sparse rows onto the minutes of ``[start_ms, end_ms)``.

        ``candles`` are rows in the order of CANDLE_ROW and ``books`` in that of BOOK_ROW, with times
        in milliseconds inside the range; of two rows for one minute the later wins. ``outages`` are
        half-open ranges, in milliseconds, of any extent; a candle beats an outage. ``previous_close``
        is the close in force at ``start_ms``, needed only when an outage covers it: without it, or
        after a missing minute, an outage's minutes stay MISSING, since their price is not known.

        Raises:
            ValueError: a time is off the minute grid or a row lies outside the range.
        """
        if start_ms % MINUTE_MS or end_ms % MINUTE_MS or end_ms < start_ms:
            raise ValueError(f"[{start_ms}, {end_ms}) is not a range of whole minutes")
        n = (end_ms - start_ms) // MINUTE_MS
        candle_grid = _lay(candles, len(CANDLE_ROW), start_ms, n)
        book_grid = _lay(books, len(BOOK_ROW), start_ms, n)
        state = np.where(np.isnan(candle_grid[0]), MISSING, PRESENT).astype(np.uint8)
        for outage_start, outage_end in outages:
            first = max(0, -((start_ms - outage_start) // MINUTE_MS))
            stop = min(n, max(0, -((start_ms - outage_end) // MINUTE_MS)))
            part = state[first:stop]
            part[part == MISSING] = FLAT
        values = dict(zip(CANDLE_ROW[1:], candle_grid[1:], strict=True))
        _fill_flat(values, state, previous_close)
        return cls(
            time=start_ms + MINUTE_MS * np.arange(n, dtype=np.int64),
            **values,
            spread_bps=book_grid[1],
            imbalance=book_grid[2],
            reference_close=np.full(n, np.nan),
            state=state,
        )

    @classmethod
    def stack(cls, symbols: Sequence[Columns]) -> Columns:
        """The same minutes of several symbols as one, of shape (symbols, minutes).

        Raises:
            ValueError: they are not the same minutes.
        """
        times = symbols[0].time
        if any(not np.array_equal(one.time, times) for one in symbols):
            raise ValueError("the symbols' minutes are not the same")
        return cls(times, *(np.stack([getattr(one, name) for one in symbols]) for name in _NAMES[1:]))

    def beside(self, reference: Columns) -> Columns:
        """These minutes with the closes of ``reference``, which holds the same ones.

        Raises:
            ValueError: they are not the same minutes.
        """
        if not np.array_equal(self.time, reference.time):
            raise ValueError("the reference's minutes are not the same")
        return replace(self, reference_close=reference.close)

    def derived(self, name: str, compute: Callable[[Columns], Derived]) -> Derived:
        """What ``compute`` makes of these minutes: computed once, however many ask for it by ``name``."""
        if name not in self._derived:
            self._derived[name] = compute(self)
        found: Derived = self._derived[name]
        return found

    def __len__(self) -> int:
        """The number of minutes."""
        return len(self.time)

    def part(self, first: int, stop: int, symbols: slice | None = None) -> Columns:
        """The minutes ``first`` to ``stop`` (exclusive), as views; of some ``symbols`` only."""
        if symbols is None:
            return Columns(*(getattr(self, name)[..., first:stop] for name in _NAMES))
        return Columns(
            self.time[first:stop], *(getattr(self, name)[symbols, first:stop] for name in _NAMES[1:])
        )

    def of(self, symbols: NDArray[np.intp]) -> Columns:
        """The same minutes of some symbols, by their places."""
        return Columns(self.time, *(getattr(self, name)[symbols] for name in _NAMES[1:]))

    def followed_by(self, later: Columns, keep: int | None = None) -> Columns:
        """These minutes and then ``later``, which starts where these end; the last ``keep`` of them.

        Build ``later`` with ``previous_close=self.close[-1]``: it is NaN after a missing minute.
        """
        both = (np.concatenate((getattr(self, name), getattr(later, name)), axis=-1) for name in _NAMES)
        joined = Columns(*both)
        return joined if keep is None else joined.part(max(0, len(joined) - keep), len(joined))

    def check(self) -> None:
        """Raise ValueError unless lengths are equal and minutes are consecutive."""
        lengths = {getattr(self, name).shape[-1] for name in _NAMES}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        if len(self) and (self.time[0] % MINUTE_MS or np.any(np.diff(self.time) != MINUTE_MS)):
            raise ValueError("times are not consecutive minutes")


_NAMES: Final = tuple(column.name for column in fields(Columns) if column.init)


def _lay(rows: Iterable[Sequence[float]] | Floats, width: int, start_ms: int, n: int) -> Floats:
    """Rows as a (width, n) grid: NaN, time included, where no row is."""
    grid = np.full((width, n), np.nan)
    table = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.float64)
    if table.size == 0:
        return grid
    if table.ndim != 2 or table.shape[1] != width:
        raise ValueError(f"rows of {width} numbers expected, got an array of shape {table.shape}")
    offset = table[:, 0].astype(np.int64) - start_ms
    place = offset // MINUTE_MS
    if np.any(offset % MINUTE_MS) or place.min() < 0 or place.max() >= n:
        raise ValueError("a row's time is off the minute grid or outside the range")
    grid[:, place] = table.T
    return grid


def _fill_flat(values: dict[str, Floats], state: NDArray[np.uint8], previous_close: float) -> None:
    """Give each outage minute the close before it, in place; MISSING where that is not known."""
    flat = state == FLAT
    if not flat.any():
        return
    index = np.where(flat, -1, np.arange(len(state)))
    source = np.maximum.accumulate(index)  # the last minute that is not of an outage; -1: before the first
    closes = np.append(values["close"], previous_close)  # index -1 is the close before the first minute
    fill = closes[source[flat]]
    for name in PRICES:
        values[name][flat] = fill
    for name in FLOWS:
        values[name][flat] = np.where(np.isnan(fill), np.nan, 0.0)
    state[flat] = np.where(np.isnan(fill), MISSING, FLAT)

"""Candles to feature rows: the same functions live and in batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from marketdata.features.columns import MISSING, PRESENT, Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.registry import ACTIVE, MAX_WINDOW, REGISTRY
from marketdata.models import MINUTE_MS

CHUNK_ROWS: Final = 24_576
"""Rows computed at a time: memory stays that of days however long the batch. Fewer, and the minutes before
each chunk, which are computed again, would cost more than what then fits a core's cache saves."""

_CELLS_MOST: Final = 131_072
"""Symbols times minutes of a column computed at a time: a megabyte."""
_ROWS_LEAST: Final = 64
"""Symbols computed at a time however long the window: beneath it, calls cost more than their work."""


class Minutes(Protocol):
    """Minutes of many symbols: ``Columns``, or whoever makes them of the part that is asked for."""

    @property
    def time(self) -> NDArray[np.int64]:
        """As in Columns."""

    @property
    def state(self) -> NDArray[np.uint8]:
        """As in Columns."""

    def check(self) -> None:
        """As in Columns."""

    def part(self, first: int, stop: int, symbols: slice, /) -> Columns:
        """Some minutes of some symbols."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Feature rows, oldest first: of one symbol's minutes, or of one minute's symbols.

    ``time`` holds the instants, in Unix milliseconds, from which the rows may be used: the closes of
    their last candles. ``values`` is (rows, features) in the order of the registry, NaN where a
    feature is not defined and never infinite. ``window_coverage`` is the share of the MAX_WINDOW
    minutes up to each instant that are real candles. ``emit`` is true where the row's own candle is
    real: only those rows are to be stored.
    """

    time: NDArray[np.int64]
    values: Floats
    window_coverage: Floats
    emit: NDArray[np.bool_]

    def part(self, rows: slice) -> Result:
        """Some of the rows."""
        return Result(self.time[rows], self.values[rows], self.window_coverage[rows], self.emit[rows])


def compute(columns: Columns, last: int | None = None, places: Sequence[int] | None = None) -> Result:
    """Compute the row of every minute of one symbol, or of the ``last`` minutes only.

    ``places`` are those of the registry's features that are wanted: ``values`` has them in this order, each
    with the very bits it has among all.

    A row is complete when ``columns`` holds the MAX_WINDOW minutes that end with it; minutes before
    the first count as missing. For ``last`` rows, ``MAX_WINDOW + last - 1`` minutes are enough.

    Raises:
        ValueError: columns of different lengths, minutes not consecutive, or ``last`` below 1.
    """
    columns.check()
    if last is not None and last < 1:
        raise ValueError(f"last is {last}, at least one row is needed")
    n = len(columns)
    first = 0 if last is None else max(0, n - last)
    chosen = ACTIVE if places is None else _chosen(places)
    values = _undefined(n - first, len(REGISTRY if places is None else places))
    with np.errstate(all="ignore"):
        for run_start, run_stop in _runs(columns.state):
            for start in range(max(run_start, first), run_stop, CHUNK_ROWS):
                _fill(columns, chosen, run_start, start, min(start + CHUNK_ROWS, run_stop), first, values)
    values[~np.isfinite(values)] = np.nan
    return Result(
        time=columns.time[first:] + MINUTE_MS,
        values=values,
        window_coverage=_coverage(columns.state, first),
        emit=columns.state[first:] == PRESENT,
    )


def compute_instant(columns: Minutes, last: int = 1, places: Sequence[int] | None = None) -> Result:
    """Compute the rows of the ``last`` minutes of many symbols at once: one symbol's, then the next one's.

    ``places`` as in ``compute``. ``columns`` is (symbols, minutes). A row is complete when it holds the
    MAX_WINDOW minutes that end with it; minutes before the first count as missing. It is quickest where the
    symbols of a minute lie side by side in memory.

    Raises:
        ValueError: columns of different lengths, minutes not consecutive, or fewer than ``last``.
    """
    columns.check()
    symbols, n = columns.state.shape
    if not 1 <= last <= n:
        raise ValueError(f"{n or 'no'} minutes, at least {max(last, 1)} needed")
    chosen = ACTIVE if places is None else _chosen(places)
    features = len(REGISTRY if places is None else places)
    values = np.full((features, last, symbols), np.nan)
    missing = _Counted(columns.state, MISSING, last)
    with np.errstate(all="ignore"):
        for window, those in _by_window(chosen):
            rows = min(last, n - window + 1)
            if rows < 1:
                continue
            # Short windows are quickest for all symbols at once; long ones are more than a cache holds.
            most = max(_ROWS_LEAST, _CELLS_MOST // (window + rows))
            for first in range(0, symbols, most):
                part = columns.part(n - rows - window + 1, n, slice(first, first + most))
                for place, feature in those:
                    values[place, last - rows :, first : first + most] = feature.compute(part)[..., -rows:].T
            if missing.any:
                unknown = missing.within(window, rows).T > 0
                for place, _ in those:
                    values[place, last - rows :][unknown] = np.nan
    values[~np.isfinite(values)] = np.nan
    return Result(
        time=np.tile(columns.time[n - last :] + MINUTE_MS, symbols),
        values=values.transpose(2, 1, 0).reshape(-1, features),
        window_coverage=_Counted(columns.state, PRESENT, last).within(MAX_WINDOW, last).ravel() / MAX_WINDOW,
        emit=(columns.state[:, n - last :] == PRESENT).ravel(),
    )


def _by_window(chosen: Sequence[tuple[int, Feature]]) -> list[tuple[int, list[tuple[int, Feature]]]]:
    """Those features that have a window in common, and their places."""
    groups: dict[int, list[tuple[int, Feature]]] = {}
    for place, feature in chosen:
        groups.setdefault(feature.window, []).append((place, feature))
    return sorted(groups.items())


class _Counted:
    """How many minutes of a kind lie in the windows that end with each of the ``last`` minutes, by symbol."""

    def __init__(self, state: NDArray[np.uint8], kind: int, last: int) -> None:
        self._found = state == kind
        self.any = bool(self._found.any())
        self._before: NDArray[np.int32] | None = None
        if last > 1 and self.any:
            symbols, n = state.shape
            self._before = np.zeros((n + 1, symbols), dtype=np.int32).T
            np.cumsum(self._found, axis=1, out=self._before[:, 1:])

    def within(self, window: int, last: int) -> NDArray[np.int32]:
        """The counts, (symbols, last)."""
        symbols, n = self._found.shape
        if not self.any:
            return np.zeros((symbols, last), dtype=np.int32)
        if self._before is None:
            newest = self._found[:, max(0, n - window) :]
            return np.add.reduce(newest, axis=1, dtype=np.int32, keepdims=True)
        ends = np.arange(n + 1 - last, n + 1)
        return self._before[:, ends] - self._before[:, np.maximum(ends - window, 0)]


def _chosen(places: Sequence[int]) -> tuple[tuple[int, Feature], ...]:
    """The active ones of these features, each with its column."""
    active = dict(ACTIVE)
    return tuple((column, active[place]) for column, place in enumerate(places) if place in active)


def _undefined(rows: int, features: int) -> Floats:
    """Rows of NaN. A feature's values lie side by side, since that is how they come."""
    return np.full((features, rows), np.nan).T


def _fill(
    columns: Columns,
    chosen: Sequence[tuple[int, Feature]],
    run_start: int,
    start: int,
    stop: int,
    first: int,
    values: Floats,
) -> None:
    """Write the rows ``start`` to ``stop`` of a run.

    One row is computed from each feature's own window; many from the minutes of the longest, so that what
    features have in common is computed once.
    """
    parts: dict[int, Columns] = {}
    alone = stop - start == 1
    for place, feature in chosen:
        begin = max(run_start, start - (feature.window if alone else MAX_WINDOW) + 1)
        row = max(start, run_start + feature.window - 1)
        if row >= stop:
            continue
        part = parts.get(begin)
        if part is None:
            part = parts[begin] = columns.part(begin, stop)
        values[row - first : stop - first, place] = feature.compute(part)[row - begin :]


def _runs(state: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """The longest stretches without a missing minute, as half-open ranges of positions."""
    edges = np.diff(np.concatenate(([True], state == MISSING, [True])).astype(np.int8))
    starts = np.flatnonzero(edges == -1).tolist()
    stops = np.flatnonzero(edges == 1).tolist()
    return zip(starts, stops, strict=True)


def _coverage(state: NDArray[np.uint8], first: int) -> Floats:
    """The share of real candles in each row's MAX_WINDOW minutes."""
    counts = np.concatenate(([0], np.cumsum(state == PRESENT)))
    ends = np.arange(first + 1, len(state) + 1)
    return np.asarray((counts[ends] - counts[np.maximum(ends - MAX_WINDOW, 0)]) / MAX_WINDOW)

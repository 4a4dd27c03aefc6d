"""Candles to feature rows: the same functions live and in batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketdata.features.columns import MISSING, PRESENT, Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.registry import ACTIVE, MAX_WINDOW, REGISTRY
from marketdata.models import MINUTE_MS

CHUNK_ROWS: Final = 24_576
"""Rows computed at a time: memory stays that of days however long the batch. Fewer, and the minutes before
each chunk, which are computed again, would cost more than what then fits a core's cache saves."""


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


def compute_instant(columns: Columns) -> Result:
    """Compute the rows of the newest minute of many symbols at once; ``columns`` is (symbols, minutes).

    A row is complete when ``columns`` holds MAX_WINDOW minutes; minutes before the first count as missing.

    Raises:
        ValueError: columns of different lengths, minutes not consecutive, or no minute at all.
    """
    columns.check()
    symbols, n = columns.state.shape
    if not n:
        raise ValueError("no minutes, at least one is needed")
    values = _undefined(symbols, len(REGISTRY))
    parts: dict[int, Columns] = {}
    with np.errstate(all="ignore"):
        for place, feature in ACTIVE:
            if feature.window > n:
                continue
            part = parts.get(feature.window)
            if part is None:
                part = parts[feature.window] = columns.part(n - feature.window, n)
            values[:, place] = feature.compute(part)[..., -1]
            values[np.any(part.state == MISSING, axis=1), place] = np.nan
    values[~np.isfinite(values)] = np.nan
    return Result(
        time=np.full(symbols, columns.time[-1] + MINUTE_MS),
        values=values,
        window_coverage=np.count_nonzero(columns.state[:, -MAX_WINDOW:] == PRESENT, axis=1) / MAX_WINDOW,
        emit=columns.state[:, -1] == PRESENT,
    )


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

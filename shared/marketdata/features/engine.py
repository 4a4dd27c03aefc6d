"""Candles to feature rows: the same function live and in batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketdata.features.columns import MISSING, PRESENT, Columns, Floats
from marketdata.features.registry import MAX_WINDOW, REGISTRY
from marketdata.models import MINUTE_MS

CHUNK_ROWS: Final = 1_440
"""Rows computed at a time: memory stays that of a day however long the batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Feature rows, oldest first.

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


def compute(columns: Columns, last: int | None = None) -> Result:
    """Compute the row of every minute, or of the ``last`` minutes only.

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
    values = np.full((n - first, len(REGISTRY)), np.nan)
    with np.errstate(all="ignore"):
        for run_start, run_stop in _runs(columns.state):
            for start in range(max(run_start, first), run_stop, CHUNK_ROWS):
                _fill(columns, run_start, start, min(start + CHUNK_ROWS, run_stop), first, values)
    values[~np.isfinite(values)] = np.nan
    return Result(
        time=columns.time[first:] + MINUTE_MS,
        values=values,
        window_coverage=_coverage(columns.state, first),
        emit=columns.state[first:] == PRESENT,
    )


def _fill(columns: Columns, run_start: int, start: int, stop: int, first: int, values: Floats) -> None:
    """Write the rows ``start`` to ``stop`` of a run, each feature from its own window."""
    parts: dict[int, Columns] = {}
    for number, feature in enumerate(REGISTRY):
        begin = max(run_start, start - feature.window + 1)
        row = begin + feature.window - 1
        if row >= stop:
            continue
        part = parts.get(begin)
        if part is None:
            part = parts[begin] = columns.part(begin, stop)
        values[row - first : stop - first, number] = feature.compute(part)[feature.window - 1 :]


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

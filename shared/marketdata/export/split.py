"""Splits by time in which no label of a training row touches the test's (Lopez de Prado 2018, chapter 7).

A row at ``time`` with a label of horizon H knows the prices of the closed interval [time, time + H]. Rows of
many symbols are split by their times, so that one instant is never on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketdata.models import MINUTE_MS


class Fold(NamedTuple):
    """Places of the rows to train on and to test on, each ascending."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def purged_folds(
    time: ArrayLike, horizon_minutes: int, *, folds: int = 5, embargo_minutes: int = 0
) -> Iterator[Fold]:
    """Yield ``folds`` splits: each row is tested once, and trained on in the others but where it is purged.

    ``time`` is one instant a row, ``datetime64`` or Unix milliseconds, in any order; ``horizon_minutes`` the
    longest label's horizon. Purged are training rows whose label interval touches the interval from the
    test's first time to its last time plus the horizon, and rows up to ``embargo_minutes`` after that.
    Features look back only: rows before the test need no more. Those after it have the test's prices in
    their windows; an embargo of the longest window takes all of these away.

    Raises:
        ValueError: fewer than 2 folds, more folds than instants, or a negative horizon or embargo.
    """
    instants, groups = _groups(time, folds, 2, folds, horizon_minutes, embargo_minutes)
    horizon, embargo = horizon_minutes * MINUTE_MS, embargo_minutes * MINUTE_MS
    for group in groups:
        first, last = group[0], group[-1]
        before = instants + horizon < first
        after = instants > last + horizon + embargo
        yield Fold(np.flatnonzero(before | after), np.flatnonzero((instants >= first) & (instants <= last)))


def walk_forward(time: ArrayLike, horizon_minutes: int, *, folds: int = 5) -> Iterator[Fold]:
    """Yield ``folds`` splits that train only on what was before the test, as a live model does.

    The rows fall into ``folds + 1`` stretches of as many instants each; every one but the first is tested
    once, after training on all before it whose label interval ends before it begins.

    Raises:
        ValueError: no fold, fewer instants than stretches, or a negative horizon.
    """
    instants, groups = _groups(time, folds, 1, folds + 1, horizon_minutes, 0)
    for group in groups[1:]:
        first, last = group[0], group[-1]
        before = instants + horizon_minutes * MINUTE_MS < first
        yield Fold(np.flatnonzero(before), np.flatnonzero((instants >= first) & (instants <= last)))


def _groups(
    time: ArrayLike, folds: int, least: int, groups: int, horizon: int, embargo: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return each row's instant in milliseconds, and the distinct ones in ``groups`` stretches."""
    given = np.asarray(time)
    if given.ndim != 1 or given.dtype.kind not in "Miu":
        raise ValueError(
            f"time must be one datetime64 or whole number of milliseconds a row, got {given.dtype}"
            " (of a data frame: frame['time'].to_numpy('datetime64[ms]'))"
        )
    if np.isnat(given).any() if given.dtype.kind == "M" else False:
        raise ValueError("time holds a NaT")
    instants = given.astype("datetime64[ms]").astype(np.int64)
    if horizon < 0 or embargo < 0:
        raise ValueError(f"horizon ({horizon}) and embargo ({embargo}) are minutes, and not negative")
    distinct = np.unique(instants)
    if folds < least or groups > len(distinct):
        raise ValueError(f"{folds} folds of {len(distinct)} instants: at least {least}, and no empty one")
    return instants, np.array_split(distinct, groups)

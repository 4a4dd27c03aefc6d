"""Rolling sums, deviations and extremes in which a minute outside the window has no weight at all.

None of these keeps a running total: such totals drift, and at the price of a bitcoin the difference
of two of them is noise (TA-Lib's VAR, STDDEV, BBANDS, CORREL and SUM). Each value is computed from its
own window, so it is the same wherever a batch begins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import talib
from numpy.lib.stride_tricks import sliding_window_view

from marketdata.features.columns import Floats


class Spread(NamedTuple):
    """Of each window: the newest value less the mean, and the population standard deviation."""

    distance: Floats
    deviation: Floats


def align(valid: Floats, length: int) -> Floats:
    """``valid``, the values of the newest minutes, behind as many NaN as make up ``length``."""
    out = np.empty(length)
    first = length - len(valid)
    out[:first] = np.nan
    out[first:] = valid
    return out


def weighted_sum(values: Floats, weights: Floats) -> Floats:
    """The sum of ``weights[k]`` times the value of k minutes ago; NaN until there are enough."""
    if len(values) < len(weights):
        return np.full(len(values), np.nan)
    return align(np.convolve(values, weights, mode="valid"), len(values))


def rolling_sum(values: Floats, minutes: int) -> Floats:
    """The sum of the newest ``minutes`` values."""
    return weighted_sum(values, np.ones(minutes))


def spread(values: Floats, minutes: int) -> Spread:
    """Distance and deviation of the newest ``minutes`` values.

    Two passes, on differences from the newest value: exact for prices that hardly move, and exactly
    zero for those that don't.
    """
    if len(values) < minutes:
        nothing = np.full(len(values), np.nan)
        return Spread(nothing, nothing)
    one = len(values) == minutes  # the live case, spared the price of a strided view
    windows = values[np.newaxis] if one else sliding_window_view(values, minutes)
    offsets = windows - windows[:, -1:]
    mean = np.add.reduce(offsets, axis=1) / minutes
    offsets -= mean[:, np.newaxis]
    deviation = np.sqrt(np.einsum("ij,ij->i", offsets, offsets) / minutes)
    return Spread(align(-mean, len(values)), align(deviation, len(values)))


def highest(values: Floats, minutes: int) -> Floats:
    """The greatest of the newest ``minutes`` values."""
    return np.asarray(talib.MAX(values, timeperiod=minutes), dtype=np.float64)


def lowest(values: Floats, minutes: int) -> Floats:
    """The least of the newest ``minutes`` values."""
    return np.asarray(talib.MIN(values, timeperiod=minutes), dtype=np.float64)


def change(values: Floats) -> Floats:
    """Each value less the one before; NaN for the first."""
    out = np.empty(len(values))
    out[:1] = np.nan
    np.subtract(values[1:], values[:-1], out=out[1:])
    return out


def log_change(values: Floats, minutes: int = 1) -> Floats:
    """The natural logarithm of each value over that of ``minutes`` before."""
    if len(values) <= minutes:
        return np.full(len(values), np.nan)
    return align(np.log(values[minutes:] / values[:-minutes]), len(values))

"""Rolling sums, deviations, regressions and extremes in which a minute outside the window has no weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import talib

from marketdata.features.columns import Floats
from marketdata.features.fold import State, align, fold


class Spread(NamedTuple):
    """Of each window: the newest value less the mean, and the population standard deviation."""

    distance: Floats
    deviation: Floats


class Comoments(NamedTuple):
    """Of each window: the sums of squared and of multiplied distances from the means of x and y."""

    xx: Floats
    yy: Floats
    xy: Floats


def rolling_sum(values: Floats, minutes: int) -> Floats:
    """The sum of the newest ``minutes`` values."""
    (total,) = fold((values,), minutes, lambda newer, older, *_: (newer[0] + older[0],))
    return align(total, values.shape[-1])


def _merge_means(newer: State, older: State, n: int, m: int) -> tuple[Floats, Floats]:
    """The mean of both parts, and the mean of the older less that of the newer.

    A part is its newest value and how far its mean lies above that: exact for prices that hardly move.
    """
    (x, above), (u, above_u) = newer, older
    gap = u - x
    if n == m == 1:  # a single minute is its own mean
        return 0.5 * gap, gap
    gap += above_u
    gap -= above
    mean = gap * (m / (n + m))
    mean += above
    return mean, gap


def _merge_products(p: Floats, q: Floats, a: Floats, b: Floats, n: int, m: int) -> Floats:
    """The sum of products of distances from the means: Chan, Golub and LeVeque 1979."""
    product = a * b
    product *= n * m / (n + m)
    if n > 1:
        product += p
    if m > 1:
        product += q
    return product


def _merge_moments(newer: State, older: State, n: int, m: int) -> State:
    """Newest value, mean above it, sum of squared distances from the mean: zero for what stands still."""
    mean, gap = _merge_means(newer[:2], older[:2], n, m)
    return newer[0], mean, _merge_products(newer[2], older[2], gap, gap, n, m)


def spread(values: Floats, minutes: int) -> Spread:
    """Distance and deviation of the newest ``minutes`` values."""
    nothing = _nothing(values)
    _, mean, squares = fold((values, nothing, nothing), minutes, _merge_moments)
    length = values.shape[-1]
    return Spread(align(-mean, length), align(np.sqrt(squares / minutes), length))


def _merge_comoments(newer: State, older: State, n: int, m: int) -> State:
    x, y, above_x, above_y, xx, yy, xy = newer
    u, v, above_u, above_v, uu, vv, uv = older
    mean_x, gap_x = _merge_means((x, above_x), (u, above_u), n, m)
    mean_y, gap_y = _merge_means((y, above_y), (v, above_v), n, m)
    return (
        x,
        y,
        mean_x,
        mean_y,
        _merge_products(xx, uu, gap_x, gap_x, n, m),
        _merge_products(yy, vv, gap_y, gap_y, n, m),
        _merge_products(xy, uv, gap_x, gap_y, n, m),
    )


def comoments(x: Floats, y: Floats, minutes: int) -> Comoments:
    """Second moments of the newest ``minutes`` pairs."""
    nothing = _nothing(x)
    state = fold((x, y, nothing, nothing, nothing, nothing, nothing), minutes, _merge_comoments)
    return Comoments(*(align(part, x.shape[-1]) for part in state[4:]))


def _nothing(values: Floats) -> Floats:
    """Zeros like ``values`` that take no memory: what a single minute has of every moment."""
    return np.broadcast_to(0.0, values.shape)


def highest(values: Floats, minutes: int) -> Floats:
    """The greatest of the newest ``minutes`` values."""
    if values.shape[-1] == minutes:
        return align(values.max(axis=-1, keepdims=True), minutes)
    return by_symbol(lambda one: talib.MAX(one, timeperiod=minutes), values)


def lowest(values: Floats, minutes: int) -> Floats:
    """The least of the newest ``minutes`` values."""
    if values.shape[-1] == minutes:
        return align(values.min(axis=-1, keepdims=True), minutes)
    return by_symbol(lambda one: talib.MIN(one, timeperiod=minutes), values)


def by_symbol(function: Callable[..., Any], *arrays: Floats) -> Floats:
    """What a function of TA-Lib, which takes one symbol at a time, makes of each symbol's arrays.

    Symbols are laid end to end, since a call for each costs more than its work. So it has to be a function of
    a moving window without memory; where that reaches into the symbol before, the value is NaN, as alone.
    """
    if arrays[0].ndim == 1:
        return np.asarray(function(*arrays), dtype=np.float64)
    shape = arrays[0].shape
    values = np.asarray(function(*(np.ravel(rows) for rows in arrays)), dtype=np.float64).reshape(shape)
    values[..., np.isnan(function(*(np.ones(shape[-1]) for _ in arrays)))] = np.nan
    return values


def change(values: Floats) -> Floats:
    """Each value less the one before; one element fewer."""
    return values[..., 1:] - values[..., :-1]


def log_change(values: Floats, minutes: int = 1) -> Floats:
    """The natural logarithm of each value over that of ``minutes`` before; NaN for the first ``minutes``."""
    length = values.shape[-1]
    return align(np.log(values[..., minutes:] / values[..., : max(0, length - minutes)]), length)


def power_sums(values: Floats, minutes: int) -> tuple[Floats, Floats, Floats]:
    """The sums of the squares, cubes and fourth powers of the newest ``minutes`` values."""

    def merge(newer: State, older: State, *_: int) -> State:
        return tuple(one + other for one, other in zip(newer, older, strict=True))

    squares = values * values
    second, third, fourth = fold((squares, squares * values, squares * squares), minutes, merge)
    length = values.shape[-1]
    return align(second, length), align(third, length), align(fourth, length)


def _merge_moments_of_time(newer: State, older: State, n: int, m: int) -> State:
    """Offsets from the newest value, and each times the minutes since: ``n`` more in the older part."""
    (x, dx, tx), (u, du, tu) = newer, older
    shift = u - x
    return x, dx + du + m * shift, tx + tu + n * du + (m * n + m * (m - 1) / 2) * shift


def slope(values: Floats, minutes: int) -> Floats:
    """The slope per minute of the least-squares line through the newest ``minutes`` values.

    TA-Lib's LINEARREG_SLOPE keeps running sums (0.8.1), which round by what came before the window.
    """
    nothing = np.zeros_like(values)
    _, offsets, aged = fold((values, nothing, nothing), minutes, _merge_moments_of_time)
    comoment = (minutes - 1) / 2 * offsets - aged
    return align(comoment / (minutes * (minutes * minutes - 1) / 12), values.shape[-1])

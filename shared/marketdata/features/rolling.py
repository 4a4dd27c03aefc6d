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


def _merge_moments(newer: State, older: State, n: int, m: int) -> State:
    """Chan, Golub and LeVeque 1979, on offsets from each part's newest value: exact for prices that hardly
    move, and exactly zero for those that don't."""
    (x, dx, xx), (u, du, uu) = newer, older
    shift = u - x
    delta = shift + (du / m - dx / n)
    return x, dx + du + m * shift, xx + uu + delta * delta * (n * m / (n + m))


def spread(values: Floats, minutes: int) -> Spread:
    """Distance and deviation of the newest ``minutes`` values."""
    nothing = np.zeros_like(values)
    _, offsets, squares = fold((values, nothing, nothing), minutes, _merge_moments)
    length = values.shape[-1]
    return Spread(align(-offsets / minutes, length), align(np.sqrt(squares / minutes), length))


def _merge_comoments(newer: State, older: State, n: int, m: int) -> State:
    x, y, dx, dy, xx, yy, xy = newer
    u, v, du, dv, uu, vv, uv = older
    shift_x, shift_y = u - x, v - y
    delta_x, delta_y = shift_x + (du / m - dx / n), shift_y + (dv / m - dy / n)
    weight = n * m / (n + m)
    return (
        x,
        y,
        dx + du + m * shift_x,
        dy + dv + m * shift_y,
        xx + uu + delta_x * delta_x * weight,
        yy + vv + delta_y * delta_y * weight,
        xy + uv + delta_x * delta_y * weight,
    )


def comoments(x: Floats, y: Floats, minutes: int) -> Comoments:
    """Second moments of the newest ``minutes`` pairs."""
    nothing = np.zeros_like(x)
    state = fold((x, y, nothing, nothing, nothing, nothing, nothing), minutes, _merge_comoments)
    return Comoments(*(align(part, x.shape[-1]) for part in state[4:]))


def highest(values: Floats, minutes: int) -> Floats:
    """The greatest of the newest ``minutes`` values."""
    return by_symbol(lambda one: talib.MAX(one, timeperiod=minutes), values)


def lowest(values: Floats, minutes: int) -> Floats:
    """The least of the newest ``minutes`` values."""
    return by_symbol(lambda one: talib.MIN(one, timeperiod=minutes), values)


def by_symbol(function: Callable[..., Any], *arrays: Floats) -> Floats:
    """What a function of TA-Lib, which takes one symbol at a time, makes of each symbol's arrays."""
    if arrays[0].ndim == 1:
        return np.asarray(function(*arrays), dtype=np.float64)
    return np.array([function(*map(np.ascontiguousarray, rows)) for rows in zip(*arrays, strict=True)])


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

"""Rolling sums, deviations, regressions and extremes in which a minute outside the window has no weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import talib

from marketdata.features.columns import Floats
from marketdata.features.fold import State, align, fold, undefined


class Spread(NamedTuple):
    """Of each window: the newest value less the mean, and the population standard deviation."""

    distance: Floats
    deviation: Floats


class Comoments(NamedTuple):
    """Of each window: the sums of squared and of multiplied distances from the means of x and y."""

    xx: Floats
    yy: Floats
    xy: Floats


def add(newer: State, older: State, _n: int, _m: int, out: State, _scratch: State) -> None:
    """The merge of sums."""
    for one, other, total in zip(newer, older, out, strict=True):
        np.add(one, other, out=total)


def sums(values: Floats, minutes: int) -> Floats:
    """The sum of the newest ``minutes`` values, without the first ``minutes - 1``, which have none."""
    return fold((values,), minutes, add)[0]


def rolling_sum(values: Floats, minutes: int) -> Floats:
    """The sum of the newest ``minutes`` values."""
    return align(sums(values, minutes), values.shape[-1])


def _merge_means(newer: State, older: State, n: int, m: int, mean: Floats, gap: Floats, room: Floats) -> None:
    """Write the mean of both parts, and the mean of the older less that of the newer.

    A part is its newest value and how far its mean lies above that: exact for prices that hardly move.
    """
    (x, above), (u, above_u) = newer, older
    np.subtract(u, x, out=gap)
    if n == m == 1:  # a single minute is its own mean
        np.multiply(gap, 0.5, out=mean)
        return
    gap += above_u
    gap -= above
    np.multiply(gap, m / (n + m), out=room)
    np.add(above, room, out=mean)


def _merge_products(
    newer: Floats, older: Floats, gaps: tuple[Floats, Floats], n: int, m: int, out: Floats, room: Floats
) -> None:
    """Write the sum of products of distances from the means: Chan, Golub and LeVeque 1979."""
    if n == m == 1:
        np.multiply(*gaps, out=out)
        out *= 0.5
        return
    np.multiply(*gaps, out=room)
    room *= n * m / (n + m)
    if m > 1:
        room += older
    np.add(newer, room, out=out)


def _merge_moments(newer: State, older: State, n: int, m: int, out: State, scratch: State) -> None:
    """Newest value, mean above it, sum of squared distances from the mean: zero for what stands still."""
    gap, room = scratch
    _merge_means(newer[:2], older[:2], n, m, out[0], gap, room)
    _merge_products(newer[2], older[2], (gap, gap), n, m, out[1], room)


def _merge_average(newer: State, older: State, n: int, m: int, out: State, scratch: State) -> None:
    _merge_means(newer, older, n, m, out[0], *scratch)


def mean_offset(values: Floats, minutes: int) -> Floats:
    """The mean of the newest ``minutes`` values less the newest, without the first ``minutes - 1``."""
    return fold((values, _nothing(values)), minutes, _merge_average, fixed=1, scratch=2)[0]


def spread(values: Floats, minutes: int) -> Spread:
    """Distance and deviation of the newest ``minutes`` values."""
    nothing = _nothing(values)
    mean, squares = fold((values, nothing, nothing), minutes, _merge_moments, fixed=1, scratch=2)
    found = Spread(*(undefined(mean, values.shape[-1]) for _ in range(2)))
    distance, deviation = (part[..., values.shape[-1] - mean.shape[-1] :] for part in found)
    np.negative(mean, out=distance)
    np.divide(squares, minutes, out=deviation)
    np.sqrt(deviation, out=deviation)
    return found


def _merge_comoments(newer: State, older: State, n: int, m: int, out: State, scratch: State) -> None:
    x, y, above_x, above_y, xx, yy, xy = newer
    u, v, above_u, above_v, uu, vv, uv = older
    gap_x, gap_y, room = scratch
    _merge_means((x, above_x), (u, above_u), n, m, out[0], gap_x, room)
    _merge_means((y, above_y), (v, above_v), n, m, out[1], gap_y, room)
    _merge_products(xx, uu, (gap_x, gap_x), n, m, out[2], room)
    _merge_products(yy, vv, (gap_y, gap_y), n, m, out[3], room)
    _merge_products(xy, uv, (gap_x, gap_y), n, m, out[4], room)


def comoments(x: Floats, y: Floats, minutes: int) -> Comoments:
    """Second moments of the newest ``minutes`` pairs, without the first ``minutes - 1``, which have none."""
    nothing = _nothing(x)
    state = (x, y, nothing, nothing, nothing, nothing, nothing)
    return Comoments(*fold(state, minutes, _merge_comoments, fixed=2, scratch=3)[2:])


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


def rises_and_falls(changes: Floats) -> tuple[Floats, Floats]:
    """Twice what each change is above zero, and twice what it is below: exact, and faster than a maximum."""
    falls = np.abs(changes)
    rises = changes + falls
    falls -= changes
    return rises, falls


def log_change(values: Floats, minutes: int = 1) -> Floats:
    """The natural logarithm of each value over that of ``minutes`` before; NaN for the first ``minutes``."""
    length = values.shape[-1]
    newest = values[..., minutes:]
    out = undefined(newest, length)
    changes = out[..., length - newest.shape[-1] :]
    np.divide(newest, values[..., : max(0, length - minutes)], out=changes)
    np.log(changes, out=changes)
    return out


def power_sums(values: Floats, minutes: int) -> tuple[Floats, Floats, Floats]:
    """The sums of the squares, cubes and fourth powers of the newest ``minutes`` values.

    They are without the first ``minutes - 1``, which have none.
    """
    squares = values * values
    second, third, fourth = fold((squares, squares * values, squares * squares), minutes, add)
    return second, third, fourth


def _merge_moments_of_time(newer: State, older: State, n: int, m: int, out: State, scratch: State) -> None:
    """Offsets from the newest value, and each times the minutes since: ``n`` more in the older part."""
    (x, dx, tx), (u, du, tu) = newer, older
    shift, moved = scratch
    np.subtract(u, x, out=shift)
    np.multiply(shift, m, out=moved)
    if m > 1:
        moved += du
    np.add(dx, moved, out=out[0])
    moved *= n
    np.add(tx, moved, out=out[1])
    if m > 1:
        shift *= m * (m - 1) / 2
        shift += tu
        np.add(out[1], shift, out=out[1])


def slope(values: Floats, minutes: int) -> Floats:
    """The slope per minute of the least-squares line through the newest ``minutes`` values.

    TA-Lib's LINEARREG_SLOPE keeps running sums (0.8.1), which round by what came before the window.
    """
    nothing = _nothing(values)
    offsets, aged = fold((values, nothing, nothing), minutes, _merge_moments_of_time, fixed=1, scratch=2)
    comoment = (minutes - 1) / 2 * offsets
    comoment -= aged
    comoment /= minutes * (minutes * minutes - 1) / 12
    return align(comoment, values.shape[-1])

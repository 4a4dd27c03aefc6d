"""A window's tree of operations: always the same one, whatever lies around the window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.features.columns import Floats
from marketdata.features.fold import State, align, fold
from marketdata.features.rolling import by_symbol, comoments, highest, lowest, rolling_sum, spread
from marketdata.features.smoothing import decayed_sum

LENGTHS = st.integers(0, 80)
WINDOWS = st.integers(1, 70)
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, *shape: int) -> Floats:
    """Numbers of both signs over nine powers of ten, so that the order of additions shows."""
    random = np.random.default_rng(seed)
    return np.asarray(random.standard_normal(shape) * 10.0 ** random.integers(-4, 5, shape))


def lopsided(newer: State, older: State, n: int, m: int) -> State:
    """A merge in which sides, sizes and order all matter."""
    return newer[0] * 0.75 + older[0] * 1.25 + 0.01 * n, newer[1] + older[1] - newer[0] * (m / (n + m))


def writing(newer: State, older: State, n: int, m: int, out: State, scratch: State) -> None:
    """``lopsided``, as ``fold`` asks for it; what is lent is made useless."""
    merged = lopsided(newer, older, n, m)
    for part in scratch:
        part[...] = np.nan
    for part, value in zip(out, merged, strict=True):
        part[...] = value


def tree(minutes: Sequence[State], merge: Callable[[State, State, int, int], State]) -> State:
    """The definition, one window: powers of two from the newest end, each halved down to single minutes."""
    total: State | None = None
    covered, end = 0, len(minutes)
    for bit in range(len(minutes).bit_length()):
        size = 1 << bit
        if not len(minutes) & size:
            continue
        part = _halves(minutes[end - size : end], merge)
        total = part if total is None else merge(total, part, covered, size)
        covered, end = covered + size, end - size
    assert total is not None
    return total


def _halves(minutes: Sequence[State], merge: Callable[[State, State, int, int], State]) -> State:
    if len(minutes) == 1:
        return minutes[0]
    half = len(minutes) // 2
    return merge(_halves(minutes[half:], merge), _halves(minutes[:half], merge), half, half)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, n=LENGTHS, window=WINDOWS)
def test_every_window_is_the_plain_tree_bit_by_bit(seed: int, n: int, window: int) -> None:
    a, b = draw(seed, 2, n)
    folded = fold((a, b), window, writing, scratch=1)
    assert [part.shape for part in folded] == [(max(0, n - window + 1),)] * 2
    for end in range(window, n + 1):
        minutes = [(a[i : i + 1], b[i : i + 1]) for i in range(end - window, end)]
        expected = tree(minutes, lopsided)
        assert [part[end - window] for part in folded] == [part[0] for part in expected]


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, n=LENGTHS, window=WINDOWS, symbols=st.integers(1, 4))
def test_symbols_do_not_meet(seed: int, n: int, window: int, symbols: int) -> None:
    many = draw(seed, 2, symbols, n)
    folded = fold((many[0], many[1]), window, writing, scratch=1)
    for number in range(symbols):
        one = fold((many[0, number], many[1, number]), window, writing)
        for together, alone in zip(folded, one, strict=True):
            np.testing.assert_array_equal(together[number], alone)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, window=WINDOWS, before=st.integers(0, 40))
def test_one_window_alone_is_that_window_among_many(seed: int, window: int, before: int) -> None:
    """Of every moving quantity: live is the last of the batch, bit by bit."""
    x, y = np.abs(draw(seed, 2, 3, before + window)) + 1.0
    moving: tuple[Callable[[Floats, Floats], tuple[Floats, ...]], ...] = (
        lambda a, _: (rolling_sum(a, window),),
        lambda a, _: spread(a, window),
        lambda a, b: comoments(a, b, window),
        lambda a, _: (decayed_sum(a, 0.9, window),),
        *((lambda a, _: (highest(a, window), lowest(a, window)),) if window > 1 else ()),
    )
    for quantity in moving:
        among = quantity(x, y)
        alone = quantity(x[:, before:], y[:, before:])
        for one, other in zip(alone, among, strict=True):
            np.testing.assert_array_equal(one[..., -1], other[..., -1])


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 60), window=st.integers(2, 30), missing=st.lists(st.integers(0, 59)))
def test_symbols_do_not_meet_in_ta_lib(seed: int, n: int, window: int, missing: list[int]) -> None:
    """Nor does a minute that is missing in one of them touch the next."""
    high, low, close = draw(seed, 3, 3, n)
    for values in (high, low, close):
        values[1, [place for place in missing if place < n]] = np.nan
    functions: tuple[tuple[Callable[..., Floats], tuple[Floats, ...]], ...] = (
        (talib.TRANGE, (high, low, close)),
        (lambda one, other: talib.AROONOSC(one, other, timeperiod=window), (high, low)),
        (lambda one: talib.MAX(one, timeperiod=window), (high,)),
        (lambda one: talib.MIN(one, timeperiod=window), (low,)),
    )
    for function, arrays in functions:
        together = by_symbol(function, *arrays)
        for number in (0, 2):
            alone = by_symbol(function, *(rows[number].copy() for rows in arrays))
            np.testing.assert_array_equal(together[number], alone)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, n=LENGTHS, window=WINDOWS)
def test_sums_are_exact_to_rounding(seed: int, n: int, window: int) -> None:
    values = draw(seed, n)
    sums = rolling_sum(values, window)
    assert np.isnan(sums[: window - 1]).all()
    for end in range(window, n + 1):
        part = values[end - window : end]
        rounding = np.finfo(float).eps * math.fsum(abs(part)) * (window.bit_length() + 1)
        assert abs(sums[end - 1] - math.fsum(part)) <= 2 * rounding


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, window=st.integers(2, 70), level=st.sampled_from([0.0, 1.0, 1e5]))
def test_moments_are_exact_to_rounding(seed: int, window: int, level: float) -> None:
    """As two passes in exact sums have them, also of prices that hardly move: no large numbers cancel."""
    x, y = np.round(level + np.random.default_rng(seed).standard_normal((2, window + 5)), 6)
    moved, own = spread(x, window), comoments(x, y, window)
    for end in range(window, window + 6):
        a, b = x[end - window : end], y[end - window : end]
        mean_a, mean_b = math.fsum(a) / window, math.fsum(b) / window
        squares = math.fsum((a - mean_a) ** 2)
        room = 1e-12 + 1e-15 * level
        assert moved.distance[end - 1] == pytest.approx(a[-1] - mean_a, rel=1e-12, abs=room)
        assert moved.deviation[end - 1] == pytest.approx(math.sqrt(squares / window), rel=1e-9)
        assert own.xx[end - window] == pytest.approx(squares, rel=1e-9)
        assert own.xy[end - window] == pytest.approx(
            math.fsum((a - mean_a) * (b - mean_b)), rel=1e-9, abs=1e-9
        )


@pytest.mark.parametrize("price", [7.0, 0.1, 28_000.01, 1e-8])
@pytest.mark.parametrize("window", [2, 3, 20, 61])
def test_what_stands_still_has_no_deviation_at_all(price: float, window: int) -> None:
    still = spread(np.full(100, price), window)
    assert not still.distance[window - 1 :].any()
    assert not still.deviation[window - 1 :].any()


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, n=LENGTHS, window=st.integers(2, 70), place=st.integers(0, 79))
def test_nothing_outside_a_window_is_read(seed: int, n: int, window: int, place: int) -> None:
    """A NaN makes NaN of the windows that hold it and changes no bit of the others."""
    values = draw(seed, n)
    broken = values.copy()
    broken[place : place + 1] = np.nan
    held = np.zeros(n, dtype=bool)
    held[place : place + window] = True
    for before, after in (
        (rolling_sum(values, window), rolling_sum(broken, window)),
        (spread(values, window).distance, spread(broken, window).distance),
        (faded(values, window), faded(broken, window)),
    ):
        np.testing.assert_array_equal(after[~held], before[~held])
        assert np.isnan(after[held]).all()


def faded(values: Floats, window: int) -> Floats:
    return align(decayed_sum(values, 0.9, window), len(values))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=LENGTHS, window=st.integers(1, 70))
def test_what_comes_out_belongs_to_the_caller(seed: int, n: int, window: int) -> None:
    """Arrays are used again and again, but not one that anybody holds."""
    x, y = draw(seed, 2, n)
    held = fold((x, y), window, writing, scratch=1)
    before = [part.copy() for part in held]
    again = fold((y, x), window, writing, scratch=1), fold((x, y), window, writing, scratch=1)
    np.testing.assert_array_equal(held, before)
    for part in held:
        part[...] = 1e9  # is the caller's to write
    np.testing.assert_array_equal(again[1], before)
    np.testing.assert_array_equal(fold((x, y), window, writing), before)


def test_threads_do_not_meet() -> None:
    """Each has arrays of its own."""
    columns = [draw(seed, 20_000) for seed in range(4)]
    expected = [rolling_sum(values, 60) for values in columns]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda values: rolling_sum(values, 60), columns * 25))
    for number, sums in enumerate(found):
        np.testing.assert_array_equal(sums, expected[number % 4])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, n=LENGTHS, window=st.integers(2, 70))
def test_what_goes_in_is_left_alone(seed: int, n: int, window: int) -> None:
    x, y = draw(seed, 2, n)
    before = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    rolling_sum(x, window), spread(x, window), comoments(x, y, window), decayed_sum(x, 0.5, window)
    np.testing.assert_array_equal((x, y), before)


def test_values_are_set_behind_what_is_not_known() -> None:
    np.testing.assert_array_equal(align(np.array([1.0, 2.0]), 4), [np.nan, np.nan, 1.0, 2.0])
    assert align(np.zeros((3, 0)), 2).shape == (3, 2)

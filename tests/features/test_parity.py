"""Live and batch are one: a row from its own window equals the row from a month, to within 1e-9.

In fact bit by bit, which the rows of many symbols at once are held to.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.features.samples import OUTAGE, START, SYMBOLS, book_rows, columns, recorded, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute
from marketdata.features.columns import Floats
from marketdata.features.engine import compute_instant
from marketdata.models import MINUTE_MS

pytestmark = pytest.mark.parity
TOLERANCE = 1e-9
ROWS = int(os.environ.get("PARITY_ROWS", "500"))
"""Rows of each symbol's 28 days to compare; 40320 compares them all, in about two minutes."""


def assert_live_equals_batch(minutes: Columns, places: list[int]) -> None:
    batch = compute(minutes)
    for place in places:
        live = compute(minutes.part(max(0, place - MAX_WINDOW + 1), place + 1), last=1)
        assert_same(live.values[0], batch.values[place], place)
        assert live.window_coverage[0] == batch.window_coverage[place]
        assert live.time[0] == batch.time[place]


def assert_same(live: Floats, batch: Floats, place: int) -> None:
    for name, one, other in zip(NAMES, live, batch, strict=True):
        assert np.isnan(one) == np.isnan(other), (name, place)
        assert np.isnan(one) or abs(one - other) <= TOLERANCE, (name, place, one, other)


@pytest.mark.promise
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_live_equals_28_recorded_days(real_data: Path, symbol: str) -> None:
    minutes = recorded(real_data, symbol)
    after_outage = int((OUTAGE[1] - minutes.time[0]) // 60_000)
    anywhere = np.random.default_rng(3).integers(0, len(minutes), 100).tolist()
    assert_live_equals_batch(minutes, [*anywhere, *range(after_outage - 90, after_outage + 1500, 30)])


def windows(minutes: Columns, ends: NDArray[np.int64]) -> Columns:
    """The MAX_WINDOW minutes before each of ``ends``, each as if a symbol of its own, all at one time."""
    places = ends[:, None] + np.arange(-MAX_WINDOW, 0)
    names = [column.name for column in fields(Columns) if column.init and column.name != "time"]
    return Columns(minutes.time[:MAX_WINDOW], *(getattr(minutes, name)[places] for name in names))


@pytest.mark.promise
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_rows_of_many_symbols_equal_28_recorded_days(real_data: Path, symbol: str) -> None:
    minutes = recorded(real_data, symbol)
    batch = compute(minutes)
    ends = np.arange(MAX_WINDOW, len(minutes) + 1)
    if ends.size > ROWS:
        ends = np.sort(np.random.default_rng(17).choice(ends, ROWS, replace=False))
    timeless = [place for place, feature in enumerate(REGISTRY) if feature.inputs != ("time",)]
    furthest = 0.0
    for part in np.array_split(ends, -(-ends.size // 500)):
        live = compute_instant(windows(minutes, part))
        one, other = live.values[:, timeless], batch.values[part - 1][:, timeless]
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        furthest = max(furthest, float(np.nanmax(np.abs(one - other), initial=0.0)))
        np.testing.assert_array_equal(live.window_coverage, batch.window_coverage[part - 1])
        np.testing.assert_array_equal(live.emit, batch.emit[part - 1])
    assert furthest == 0.0


@pytest.mark.parametrize(("price", "tick"), [(28_000.0, 0.01), (1.0, 1e-4), (1e-5, 1e-8), (1e6, 1e-2)])
def test_live_equals_batch_on_seeded_prices(price: float, tick: float) -> None:
    minutes = seeded(6_000, seed=5, price=price, tick=tick)
    assert_live_equals_batch(minutes, list(range(0, 6_000, 61)))


def test_live_equals_batch_while_prices_stand_still_after_a_jump() -> None:
    table = rows(4_000, seed=7)
    table[1_000:, 1:5] = table[999, 4]
    table[1_000, 1:5] *= 10.0
    table[1_001:, 1:5] = table[1_000, 4]
    table[1_000:, 5:] = 0.0
    assert_live_equals_batch(columns(table), list(range(990, 1_050 + MAX_WINDOW, 23)))


def test_live_equals_batch_when_volume_dwarfs_what_follows() -> None:
    table = rows(3_000, seed=8)
    table[1_200, 5:] = 1e15
    assert_live_equals_batch(columns(table), list(range(1_190, 1_290)))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    holes=st.lists(st.tuples(st.integers(0, 2_400), st.integers(1, 200)), max_size=4),
    place=st.integers(1_000, 2_499),
)
def test_live_equals_batch_around_holes(seed: int, holes: list[tuple[int, int]], place: int) -> None:
    table = rows(2_500, seed)
    keep = np.ones(2_500, dtype=bool)
    for start, length in holes:
        keep[start : start + length] = False
    keep[-1] = True
    assert_live_equals_batch(columns(table[keep]), [place])


@settings(max_examples=25, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    gaps=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 1_700), st.integers(1, 200)), max_size=8
    ),
    back=st.integers(0, 200),
)
def test_symbols_at_once_equal_each_alone_around_holes_and_outages(
    seeds: list[int], gaps: list[tuple[int, bool, int, int]], back: int
) -> None:
    """Each with missing minutes and outages of its own, any of which may cover its newest minute."""
    n = MAX_WINDOW + 250
    end = START + n * MINUTE_MS
    each = []
    for number, seed in enumerate(seeds):
        table, keep, outages = rows(n, seed), np.ones(n, dtype=bool), []
        for symbol, outage, ago, length in gaps:
            first = n - 1 - ago
            if symbol % len(seeds) != number:
                continue
            keep[max(0, first) : max(0, first + length)] = False
            if outage:
                outages.append((START + first * MINUTE_MS, START + (first + length) * MINUTE_MS))
        each.append(Columns.from_rows(START, end, table[keep], outages, book_rows(n, seed)))
    each = [one.beside(each[0]) for one in each]
    stop = n - back
    together = compute_instant(Columns.stack([one.part(stop - MAX_WINDOW, stop) for one in each]))
    for number, one in enumerate(each):
        batch, live = compute(one), compute(one.part(stop - MAX_WINDOW, stop), last=1)
        for alone, row in ((batch, stop - 1), (live, 0)):
            np.testing.assert_array_equal(together.values[number], alone.values[row])
            assert together.window_coverage[number] == alone.window_coverage[row]
            assert together.emit[number] == alone.emit[row]
            assert together.time[number] == alone.time[row]


def test_many_rows_at_once_equal_one_at_a_time() -> None:
    minutes = seeded(3_000)
    together = compute(minutes.part(3_000 - MAX_WINDOW - 99, 3_000), last=100).values
    for back in range(100):
        stop = 3_000 - back
        alone = compute(minutes.part(stop - MAX_WINDOW, stop), last=1).values[0]
        assert_same(alone, together[99 - back], stop)

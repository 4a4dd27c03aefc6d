"""Live and batch are one: a row from its own window equals the row from a month, to within 1e-9."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.samples import OUTAGE, SYMBOLS, columns, recorded, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, Columns, compute
from marketdata.features.columns import Floats

pytestmark = pytest.mark.parity
TOLERANCE = 1e-9


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
    anywhere = np.random.default_rng(3).integers(0, len(minutes), 400).tolist()
    assert_live_equals_batch(minutes, [*anywhere, *range(after_outage - 90, after_outage + 900, 10)])


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
    assert_live_equals_batch(columns(table), list(range(990, 2_600, 7)))


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


def test_many_rows_at_once_equal_one_at_a_time() -> None:
    minutes = seeded(3_000)
    together = compute(minutes.part(3_000 - MAX_WINDOW - 99, 3_000), last=100).values
    for back in range(100):
        stop = 3_000 - back
        alone = compute(minutes.part(stop - MAX_WINDOW, stop), last=1).values[0]
        assert_same(alone, together[99 - back], stop)

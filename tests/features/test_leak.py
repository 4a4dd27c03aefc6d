"""What a row depends on: nothing after its instant, nothing before its window, all its inputs within."""

from __future__ import annotations

import numpy as np
import pytest
from tests.features.samples import book_rows, columns, rows, seeded

from marketdata.features import NAMES, REGISTRY, compute
from marketdata.features.feature import Feature

pytestmark = pytest.mark.leak
N = 2_000
INSTANT = 1_500  # the last minute the row sees
CANDLE_FEATURES = tuple(f for f in REGISTRY if f.inputs[0] not in ("time", "spread_bps", "imbalance"))


@pytest.mark.promise
def test_the_future_changes_no_feature() -> None:
    before = compute(seeded(N)).values[: INSTANT + 1]
    table = rows(N)
    noise = rows(N, seed=99, price=3.0)
    table[INSTANT + 1 :, 1:] = noise[INSTANT + 1 :, 1:]
    after = compute(columns(table)).values[: INSTANT + 1]
    np.testing.assert_array_equal(after, before)


def test_a_shorter_future_changes_no_feature() -> None:
    np.testing.assert_array_equal(
        compute(seeded(N).part(0, INSTANT + 1)).values, compute(seeded(N)).values[: INSTANT + 1]
    )


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_nothing_before_the_window_has_any_weight(feature: Feature) -> None:
    number = REGISTRY.index(feature)
    table = rows(N)
    oldest = INSTANT - feature.window + 1
    table[:oldest, 1:] = rows(N, seed=98, price=9e5)[:oldest, 1:]
    expected, actual = compute(seeded(N)).values, compute(columns(table)).values
    assert actual[INSTANT, number] == pytest.approx(expected[INSTANT, number], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("feature", CANDLE_FEATURES, ids=[f.name for f in CANDLE_FEATURES])
def test_the_newest_candle_changes_every_candle_feature(feature: Feature) -> None:
    number = REGISTRY.index(feature)
    table = rows(N)
    table[INSTANT, 1:8] *= (1.5, 1.6, 1.4, 1.55, 3.0, 3.5, 2.0)
    assert compute(columns(table)).values[INSTANT, number] != compute(seeded(N)).values[INSTANT, number]


@pytest.mark.parametrize("feature", CANDLE_FEATURES, ids=[f.name for f in CANDLE_FEATURES])
def test_the_window_is_no_longer_than_it_must_be(feature: Feature) -> None:
    """The oldest minute still matters, if as little as the last weight of an average: 1e-12 of it."""
    number = REGISTRY.index(feature)
    oldest = INSTANT - feature.window + 1
    table = rows(N)
    table[oldest, 1:8] *= (1e6, 2e6, 1e-6, 1e6, 1e6, 1e6, 1e6)
    before, after = (
        compute(seeded(N)).values[INSTANT, number],
        compute(columns(table)).values[INSTANT, number],
    )
    assert after != before


def test_book_features_are_those_of_the_last_minute() -> None:
    books = book_rows(N)
    values = compute(seeded(N)).values
    np.testing.assert_array_equal(values[:, NAMES.index("spread_bps")], books[:, 1])
    np.testing.assert_array_equal(values[:, NAMES.index("book_imbalance")], books[:, 2])

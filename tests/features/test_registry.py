"""The registry's own rules, and that a released feature never changes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marketdata.features import FEATURE_VERSION, MAX_WINDOW, NAMES, REGISTRY, Columns, compute
from marketdata.features.columns import CANDLE_ROW
from marketdata.features.feature import Feature
from marketdata.features.registry import GROUPS, names, order
from marketdata.features.smoothing import average, distance, warmup

GOLDEN = Path(__file__).with_name("golden.json")


def test_values_of_released_features_are_what_they_were() -> None:
    """golden.json names each version's features and their values for fixed candles; it only grows."""
    golden = json.loads(GOLDEN.read_text())
    table = [[golden["start"] + 60_000 * i, *_candle(i)] for i in range(golden["minutes"])]
    end = table[-1][0] + 60_000
    minutes = Columns.from_rows(golden["start"], end, table, books=[(table[-1][0], 1.25, -0.5)])
    values = dict(zip(NAMES, compute(minutes, last=1).values[0].tolist(), strict=True))
    assert str(FEATURE_VERSION) in golden["versions"]
    for version, expected in golden["versions"].items():
        assert names(int(version)) == tuple(expected)
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, rel=1e-9, abs=1e-15), name


def _candle(i: int) -> list[float]:
    """Candles without chance or libraries: sums of two waves, so that they are the same everywhere."""
    opened, close = (100.0 + math.sin(k / 7.0) + 3.0 * math.cos(k / 61.0) for k in (i - 1, i))
    volume = 10.0 + 9.0 * math.sin(i / 3.0) * math.cos(i / 17.0)
    high, low = max(opened, close) + 0.1 + 0.05 * math.sin(i), min(opened, close) - 0.1
    taken = 0.5 + 0.4 * math.sin(i / 5.0)
    price = (opened + close) / 2.0
    return [
        opened,
        high,
        low,
        close,
        volume,
        volume * price,
        float(i % 37),
        volume * taken,
        volume * price * taken,
    ]


def test_a_value_has_every_input_that_it_names() -> None:
    known = {*CANDLE_ROW, "spread_bps", "imbalance", "reference_close"}
    assert all(feature.inputs and set(feature.inputs) <= known for feature in REGISTRY)


def test_names_are_columns_of_sql() -> None:
    assert all(name.isidentifier() and name == name.lower() and len(name) < 64 for name in NAMES)


def test_positions_go_by_version_first() -> None:
    early, late = GROUPS[0][0], replace(GROUPS[0][1], since_version=2)
    other = GROUPS[1][0]
    assert order(((early, late), (other,)), 2) == (early, other, late)


@pytest.mark.parametrize(
    ("groups", "version", "message"),
    [
        (((REGISTRY[0],), (REGISTRY[0],)), 1, "share a name"),
        (((replace(REGISTRY[0], since_version=2), REGISTRY[1]),), 2, "not in order"),
        (((REGISTRY[0],),), 2, "FEATURE_VERSION"),
        (((replace(REGISTRY[0], window=0),),), 1, "no window"),
        (((replace(REGISTRY[0], low=1.0, high=0.0),),), 1, "empty range"),
    ],
)
def test_a_registry_that_breaks_a_rule_is_refused(
    groups: tuple[tuple[Feature, ...], ...], version: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        order(groups, version)


def test_the_longest_window_is_that_of_the_longest_average() -> None:
    assert MAX_WINDOW == 829 == warmup(2.0 / 61.0)


@pytest.mark.parametrize("alpha", [2.0 / 10.0, 1.0 / 14.0, 2.0 / 27.0, 2.0 / 61.0])
def test_a_warm_up_ends_when_the_seed_weighs_under_1e12(alpha: float) -> None:
    assert (1.0 - alpha) ** warmup(alpha) < 1e-12 <= (1.0 - alpha) ** (warmup(alpha) - 1)
    steady = np.full(warmup(alpha), 7.0)
    assert average(steady, alpha)[-1] == pytest.approx(7.0, abs=1e-13)
    assert distance(steady, alpha)[-1] == 0.0

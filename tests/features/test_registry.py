"""The registry's own rules, and that a released feature never changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.features import golden
from tests.features.samples import seeded

from marketdata.features import FEATURE_VERSION, MAX_WINDOW, NAMES, REGISTRY, Columns, compute, engine
from marketdata.features.columns import CANDLE_ROW
from marketdata.features.engine import compute_instant
from marketdata.features.feature import Feature
from marketdata.features.registry import ACTIVE, GROUPS, active, names, order
from marketdata.features.smoothing import average, distance, warmup


def test_values_of_released_features_are_what_they_were() -> None:
    """A set that is not in the file yet is added by ``python -m tests.features.golden``."""
    content = golden.read()
    assert str(FEATURE_VERSION) in content["versions"]
    assert golden.differing(content) == []
    for version, expected in content["versions"].items():
        number = int(version)
        held = [feature.name for _, feature in active(REGISTRY, number) if feature.since_version <= number]
        assert list(expected) == held


def test_a_new_set_is_added_to_the_released_ones_and_changes_none(tmp_path: Path) -> None:
    content = golden.read()
    content["versions"].pop(str(FEATURE_VERSION), None)
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(content))
    assert golden.main(path) == 0
    after = golden.read(path)
    assert list(after["versions"].pop(str(FEATURE_VERSION))) == [feature.name for _, feature in ACTIVE]
    assert after == content


def test_a_released_set_is_never_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "golden.json"
    content = golden.read()
    content["versions"].setdefault(str(FEATURE_VERSION), {})
    path.write_text(json.dumps(content))
    before = path.read_text()
    assert golden.main(path) == 1
    assert f"set {FEATURE_VERSION} is released" in capsys.readouterr().err
    assert path.read_text() == before


@pytest.mark.parametrize("name", ["return_1m", "one_that_is_gone"])
def test_a_set_is_not_added_where_a_released_value_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "golden.json"
    content = golden.read()
    content["versions"].pop(str(FEATURE_VERSION), None)
    content["versions"]["1"][name] = 0.5
    path.write_text(json.dumps(content))
    assert golden.main(path) == 1
    assert f"{name} of set 1" in capsys.readouterr().err
    assert golden.read(path) == content


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


RETIRED = FEATURE_VERSION + 1


def retiring(*gone: str) -> tuple[Feature, ...]:
    """The registry of a next set that brings nothing and retires the features of these names."""
    groups = tuple(
        tuple(replace(one, retired_version=RETIRED) if one.name in gone else one for one in group)
        for group in GROUPS
    )
    return order(groups, RETIRED)


def test_a_set_that_only_retires_a_feature_is_accepted_and_moves_no_place() -> None:
    registry = retiring("rsi_14")
    assert tuple(feature.name for feature in registry) == NAMES
    places = [place for place, _ in active(registry, RETIRED)]
    assert places == [place for place in range(len(NAMES)) if NAMES[place] != "rsi_14"]
    assert active(registry, FEATURE_VERSION) == tuple(enumerate(registry))


def test_a_retired_features_place_holds_null_and_the_others_their_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    minutes = seeded(MAX_WINDOW + 1)
    both = Columns.stack([minutes, seeded(MAX_WINDOW + 1, seed=2)])
    expected, instant = compute(minutes).values, compute_instant(both).values
    monkeypatch.setattr(engine, "ACTIVE", active(retiring("rsi_14", "return_1m"), RETIRED))
    for values, before in ((compute(minutes).values, expected), (compute_instant(both).values, instant)):
        for name, place in (("rsi_14", NAMES.index("rsi_14")), ("return_1m", NAMES.index("return_1m"))):
            assert not np.isnan(before[-1, place]), name
            before[:, place] = np.nan
        np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("gone", [0, 1, RETIRED])
def test_a_feature_is_retired_after_it_came_and_not_after_the_newest_set(gone: int) -> None:
    group = (replace(REGISTRY[0], retired_version=gone), replace(REGISTRY[1], since_version=FEATURE_VERSION))
    with pytest.raises(ValueError, match=r"retired in|FEATURE_VERSION is"):
        order((group,), FEATURE_VERSION)


def test_a_row_needs_the_candles_of_a_day_and_a_minute() -> None:
    """A return over 24 hours needs the close before them; nothing may need more."""
    assert MAX_WINDOW == 1_441
    assert max(feature.window for feature in REGISTRY if feature.since_version == 1) == warmup(2.0 / 61.0)


def test_positions_of_a_set_are_those_of_the_sets_before_and_its_own_behind() -> None:
    assert names(FEATURE_VERSION) == NAMES
    assert all(names(version) == NAMES[: len(names(version))] for version in range(1, FEATURE_VERSION))


@pytest.mark.parametrize("alpha", [2.0 / 10.0, 1.0 / 14.0, 2.0 / 27.0, 2.0 / 61.0])
def test_a_warm_up_ends_when_the_seed_weighs_under_1e12(alpha: float) -> None:
    assert (1.0 - alpha) ** warmup(alpha) < 1e-12 <= (1.0 - alpha) ** (warmup(alpha) - 1)
    steady = np.full(warmup(alpha), 7.0)
    assert average(steady, alpha)[-1] == pytest.approx(7.0, abs=1e-13)
    assert distance(steady, alpha)[-1] == 0.0

"""What a row depends on: nothing after its instant, nothing before its window, all of its window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.features.leak import ALONE, FUTURE, LATE, LONG, PAST, Sample, findings
from tests.features.samples import SYMBOLS, book_rows, columns, recorded, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute, engine
from marketdata.features.columns import BOOK, Floats
from marketdata.features.feature import Feature

pytestmark = pytest.mark.leak
N = 2 * MAX_WINDOW + 300
INSTANT = N - 300  # the last minute the row sees
SEEDED_ROWS = 400
RECORDED_ROWS = 200  # of each symbol


@cache
def small() -> Sample:
    return Sample.of(seeded(4 * MAX_WINDOW, seed=21), 8, seed=22)


def broken(features: tuple[Feature, ...], sample: Sample) -> dict[str, set[str]]:
    found = {feature.name: findings(feature, sample) for feature in features}
    return {name: what for name, what in found.items() if what}


@pytest.mark.promise
def test_no_feature_sees_the_future_or_before_its_window_in_seeded_minutes() -> None:
    assert broken(REGISTRY, Sample.of(seeded(20_000, seed=4), SEEDED_ROWS, seed=5)) == {}


@pytest.mark.promise
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_feature_sees_the_future_or_before_its_window_in_recorded_minutes(
    real_data: Path, symbol: str
) -> None:
    minutes = recorded(real_data, symbol)
    book = seeded(len(minutes))
    with_book = replace(minutes, **{name: getattr(book, name) for name in BOOK})
    assert broken(REGISTRY, Sample.of(with_book, RECORDED_ROWS, seed=6)) == {}


@pytest.mark.promise
def test_the_future_changes_no_row_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candles, books and the reference after an instant: others, some missing, or none at all."""
    monkeypatch.setattr(engine, "CHUNK_ROWS", 600)  # what comes after a chunk is the future, too
    whole = seeded(N)
    before = compute(whole).values[: INSTANT + 1]
    table, reference, later = rows(N), rows(N, seed=31), slice(INSTANT + 1, None)
    table[later, 1:] = rows(N, seed=99, price=3.0)[later, 1:]
    reference[later, 1:] = rows(N, seed=98, price=5.0)[later, 1:]
    other = columns(table, reference)
    for name, values in zip(BOOK, book_rows(N, seed=97).T[1:], strict=True):
        getattr(other, name)[later] = values[later]
    np.testing.assert_array_equal(compute(other).values[: INSTANT + 1], before)
    kept = np.delete(rows(N), slice(INSTANT + 1, INSTANT + 4), axis=0)
    np.testing.assert_array_equal(compute(columns(kept)).values[: INSTANT + 1], before)
    np.testing.assert_array_equal(compute(whole.part(0, INSTANT + 1)).values, before)


def test_book_features_are_those_of_the_last_minute() -> None:
    books = book_rows(N)
    values = compute(seeded(N)).values
    np.testing.assert_array_equal(values[:, NAMES.index("spread_bps")], books[:, 1])
    np.testing.assert_array_equal(values[:, NAMES.index("book_imbalance")], books[:, 2])


# What the check itself is worth: every one of these has to be found.


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_feature_one_minute_ahead_is_found(feature: Feature) -> None:
    def ahead(minutes: Columns) -> Floats:
        return next_minute(feature.compute(minutes))

    assert findings(replace(feature, compute=ahead), small()) >= {FUTURE, ALONE}


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_feature_one_minute_behind_is_found(feature: Feature) -> None:
    def behind(minutes: Columns) -> Floats:
        values = feature.compute(minutes)
        return np.concatenate((np.full_like(values[..., :1], np.nan), values[..., :-1]), axis=-1)

    assert LATE in findings(replace(feature, compute=behind, window=feature.window + 1), small())


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_window_one_minute_too_long_is_found(feature: Feature) -> None:
    assert findings(replace(feature, window=feature.window + 1), small()) == {LONG}


SEVERAL = tuple(feature for feature in REGISTRY if feature.window > 1)


@pytest.mark.parametrize("feature", SEVERAL, ids=[f.name for f in SEVERAL])
def test_a_window_one_minute_too_short_is_found(feature: Feature) -> None:
    assert ALONE in findings(replace(feature, window=feature.window - 1), small())


def next_minute(values: Floats) -> Floats:
    return np.concatenate((values[..., 1:], values[..., -1:]), axis=-1)


def whole_batch(minutes: Columns) -> Floats:
    return minutes.close - minutes.close.mean(axis=-1, keepdims=True)


def running_total(minutes: Columns) -> Floats:
    return np.cumsum(minutes.volume, axis=-1)


def centred(minutes: Columns) -> Floats:
    return (minutes.close + next_minute(minutes.close)) / 2.0


@pytest.mark.parametrize(
    ("compute_", "expected"),
    [
        (lambda minutes: minutes.close - next_minute(minutes.reference_close), {FUTURE}),
        (lambda minutes: minutes.close * next_minute(minutes.spread_bps), {FUTURE}),
        (lambda minutes: minutes.close * next_minute(minutes.imbalance), {FUTURE}),
        (lambda minutes: minutes.close + 0.0 * next_minute(minutes.trades) ** 400.0, {FUTURE}),
        (centred, {FUTURE}),
        (whole_batch, {FUTURE, PAST}),
        (running_total, {PAST}),
    ],
    ids=["reference", "spread", "imbalance", "weight of zero", "centred", "whole batch", "running total"],
)
def test_a_peek_is_found(compute_: Callable[[Columns], Floats], expected: set[str]) -> None:
    assert findings(replace(REGISTRY[0], compute=compute_, window=1), small()) >= expected

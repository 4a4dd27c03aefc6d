"""A symbol beside the reference: definitions, the reference beside itself, and what is not known of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.features.samples import START, SYMBOLS, columns, constant, recorded, rows, seeded
from tests.features.suites import assert_agree, features

from marketdata.features import NAMES, REGISTRY, Columns
from marketdata.features.columns import REFERENCE, Floats
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import compute_instant
from marketdata.features.feature import Feature
from marketdata.models import MINUTE_MS

CROSS = tuple(feature for feature in REGISTRY if "reference_close" in feature.inputs)
EACH = pytest.mark.parametrize("feature", CROSS, ids=[feature.name for feature in CROSS])
N = 600


def beside(own: Floats, reference: Floats) -> Columns:
    """Minutes of given log returns, the first of which has none."""
    minutes = seeded(len(own))
    return replace(minutes, close=np.exp(np.cumsum(own)), reference_close=np.exp(np.cumsum(reference)))


def values(feature: Feature, minutes: Columns) -> Floats:
    with np.errstate(all="ignore"):
        return feature.compute(minutes)


def test_no_candle_of_the_reference_reaches_further_than_promised() -> None:
    assert {feature.group for feature in CROSS} == {"cross"}
    assert all(feature.window <= CROSS_WINDOW for feature in CROSS)


def test_twice_the_reference() -> None:
    steps = np.random.default_rng(1).normal(0.0, 1e-3, N)
    row = {name: values[-1] for name, values in features(beside(2.0 * steps, steps)).items()}
    for minutes in (60, 180):
        assert row[f"btc_correlation_{minutes}m"] == pytest.approx(1.0, abs=1e-9)
        assert row[f"btc_beta_{minutes}m"] == pytest.approx(2.0, rel=1e-9)
    for minutes in (15, 60):
        assert row[f"btc_relative_return_{minutes}m"] == pytest.approx(steps[-minutes:].sum(), abs=1e-12)


def test_two_moves_that_agree_twice_in_three() -> None:
    """Of 60 returns 40 agree in sign with the reference's and 20 don't; both have means of 0."""
    reference = np.r_[0.0, np.tile([0.02, -0.02], 30)]
    own = reference / 2.0
    own[1:21] *= -1.0
    row = features(beside(own, reference))
    assert row["btc_correlation_60m"][-1] == pytest.approx((40 - 20) / 60, abs=1e-12)
    # covariance (40 - 20) / 60 * 0.01 * 0.02, variance 0.02 * 0.02
    assert row["btc_beta_60m"][-1] == pytest.approx((20 / 60) * 0.0002 / 0.0004, abs=1e-12)
    assert row["btc_relative_return_15m"][-1] == pytest.approx(-0.01 + 0.02, abs=1e-12)  # the last of each


def test_plain_loops() -> None:
    minutes = columns(rows(N, seed=3), rows(N, seed=4))
    found = features(minutes)
    own, reference = minutes.close, minutes.reference_close
    for last in range(181, N, 17):
        for window in (60, 180):
            places = range(last - window + 1, last + 1)
            x = [math.log(own[i] / own[i - 1]) for i in places]
            y = [math.log(reference[i] / reference[i - 1]) for i in places]
            mean_x, mean_y = sum(x) / window, sum(y) / window
            both = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
            xx, yy = sum((a - mean_x) ** 2 for a in x), sum((b - mean_y) ** 2 for b in y)
            assert found[f"btc_correlation_{window}m"][last] == pytest.approx(
                both / math.sqrt(xx * yy), abs=1e-9
            )
            assert found[f"btc_beta_{window}m"][last] == pytest.approx(both / yy, abs=1e-9)
        for window in (15, 60):
            gain = math.log(own[last] / own[last - window])
            market = math.log(reference[last] / reference[last - window])
            assert found[f"btc_relative_return_{window}m"][last] == pytest.approx(gain - market, abs=1e-12)


@pytest.mark.parity
def test_pandas_on_recorded_days(real_data: Path) -> None:
    minutes = recorded(real_data, "ETHUSDT").part(2_000, 8_000)
    found = features(minutes)
    own, reference = (np.log(pd.Series(values)).diff() for values in (minutes.close, minutes.reference_close))
    for window in (60, 180):
        assert_agree(found[f"btc_correlation_{window}m"], own.rolling(window).corr(reference), 200)
        slope = own.rolling(window).cov(reference) / reference.rolling(window).var()
        assert_agree(found[f"btc_beta_{window}m"], slope, 200)
        assert np.nanmedian(found[f"btc_correlation_{window}m"]) > 0.5  # they do move together


def test_the_reference_beside_itself_is_exactly_itself() -> None:
    table = rows(N, seed=31)
    row = features(columns(table, table))
    for minutes in (60, 180):
        assert set(row[f"btc_correlation_{minutes}m"][minutes:]) == {1.0}
        assert set(row[f"btc_beta_{minutes}m"][minutes:]) == {1.0}
    for minutes in (15, 60):
        assert set(row[f"btc_relative_return_{minutes}m"][minutes:]) == {0.0}


@pytest.mark.parity
def test_the_recorded_reference_beside_itself(real_data: Path) -> None:
    assert SYMBOLS[0] == REFERENCE
    minutes = recorded(real_data, REFERENCE)
    found = features(minutes)
    still = pd.Series(np.r_[np.nan, minutes.close[1:] == minutes.close[:-1]]).rolling(60).min() == 1.0
    assert still.any()  # the halt of 2023-03-24
    for name, itself in {"btc_correlation_60m": 1.0, "btc_beta_60m": 1.0}.items():
        known = ~np.isnan(found[name])
        assert set(found[name][known]) == {itself}
        np.testing.assert_array_equal(~known[60:], still[60:])


@EACH
def test_a_value_needs_its_whole_window_of_both_and_nothing_older(feature: Feature) -> None:
    minutes = seeded(feature.window + 40)
    row = 20 + feature.window - 1
    for name in feature.inputs:
        for unknown, missing in ((20, False), (21, True)):
            cut = getattr(minutes, name).copy()
            cut[:unknown] = np.nan
            value = values(feature, replace(minutes, **{name: cut}))[row]
            assert math.isnan(value) if missing else value == values(feature, minutes)[row]


@EACH
def test_the_references_future_changes_nothing(feature: Feature) -> None:
    minutes = seeded(N)
    later = minutes.reference_close.copy()
    later[400:] *= np.random.default_rng(2).uniform(0.5, 2.0, N - 400)
    changed = values(feature, replace(minutes, reference_close=later))
    np.testing.assert_array_equal(changed[:400], values(feature, minutes)[:400])
    assert np.all(changed[400:] != values(feature, minutes)[400:])


@EACH
def test_a_missing_minute_of_the_reference_nulls_what_reads_it(feature: Feature) -> None:
    n, hole = N, 300
    others = np.delete(rows(n, seed=31), hole, axis=0)
    reference = Columns.from_rows(START, START + n * MINUTE_MS, others)
    minutes = Columns.from_rows(START, START + n * MINUTE_MS, rows(n)).beside(reference)
    null = (
        np.flatnonzero(np.isnan(features(minutes)[feature.name][feature.window - 1 :])) + feature.window - 1
    )
    if feature.name.startswith("btc_relative_return"):  # of the ends only
        assert null.tolist() == [hole, hole + feature.window - 1]
    else:
        assert null.tolist() == list(range(hole, hole + feature.window))


def test_an_outage_of_the_reference_is_flat() -> None:
    n, hole = N, slice(300, 310)
    outage = [(START + 300 * MINUTE_MS, START + 310 * MINUTE_MS)]
    table, whole = rows(n, seed=31), rows(n)
    reference = Columns.from_rows(START, START + n * MINUTE_MS, np.delete(table, hole, axis=0), outage)
    found = features(Columns.from_rows(START, START + n * MINUTE_MS, whole).beside(reference))
    flat = table.copy()
    flat[hole, 1:5] = table[299, 4]
    expected = features(columns(whole, flat))
    for feature in CROSS:
        np.testing.assert_array_equal(found[feature.name], expected[feature.name])
        assert not np.isnan(found[feature.name][feature.window :]).any()


def test_without_a_reference_there_is_nothing_to_compare_with() -> None:
    minutes = Columns.from_rows(START, START + N * MINUTE_MS, rows(N))
    for feature in CROSS:
        assert np.isnan(features(minutes)[feature.name]).all()


def test_prices_that_stand_still() -> None:
    own = {name: values[-1] for name, values in features(constant(N)).items()}
    assert math.isnan(own["btc_correlation_60m"])
    assert own["btc_beta_60m"] == own["btc_beta_180m"] == 0.0
    still = features(replace(seeded(N), reference_close=np.full(N, 7.0)))
    assert math.isnan(still["btc_correlation_180m"][-1])
    assert math.isnan(still["btc_beta_180m"][-1])
    np.testing.assert_array_equal(still["btc_relative_return_60m"], still["return_60m"])


def test_correlations_stay_in_their_range_when_one_jump_is_all_there_is() -> None:
    table, other = rows(N), rows(N, seed=31)
    table[300:, 1:5] *= 10.0
    other[300:, 1:5] /= 10.0
    found = features(columns(table, other))
    assert -1.0 <= found["btc_correlation_60m"][330] < -0.99
    for name in ("btc_correlation_60m", "btc_correlation_180m"):
        known = found[name][~np.isnan(found[name])]
        assert np.abs(known).max() <= 1.0
    untouched = features(columns(rows(N), rows(N, seed=31)))
    np.testing.assert_allclose(  # once it has left the window
        found["btc_correlation_60m"][361:], untouched["btc_correlation_60m"][361:], rtol=0, atol=1e-9
    )


@EACH
@pytest.mark.parametrize(("price", "tick"), [(28_000.0, 0.01), (1e-5, 1e-8), (1e6, 0.01)])
def test_alone_amid_a_month_and_beside_other_symbols_it_is_the_same_bit_by_bit(
    price: float, tick: float, feature: Feature
) -> None:
    each = [seeded(N, seed, price, tick) for seed in (1, 2, 3)]
    together = values(feature, Columns.stack(each))
    live = compute_instant(Columns.stack(each))
    np.testing.assert_array_equal(live.values[:, NAMES.index(feature.name)], together[:, -1])
    for one, row in zip(each, together, strict=True):
        np.testing.assert_array_equal(row, values(feature, one))
        for last in range(250, N, 29):
            alone = values(feature, one.part(last - feature.window + 1, last + 1))
            assert alone[-1] == row[last]


def test_units_of_price_do_not_matter() -> None:
    table, other = rows(N), rows(N, seed=31)
    before = features(columns(table, other))
    table[:, 1:5] *= 3e-7
    other[:, 1:5] *= 11.0
    after = features(columns(table, other))
    for feature in CROSS:
        np.testing.assert_allclose(after[feature.name], before[feature.name], rtol=0, atol=1e-9)

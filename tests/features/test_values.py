"""The values documented for prices that stand still, no volume, a jump and a single candle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.features.samples import START, columns, constant, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute

NOT_OF_CANDLES_ALONE = {f.name for f in REGISTRY if f.group in ("microstructure", "time", "cross")}
FLOW = {
    "money_flow_14",
    "taker_ratio_1m",
    "taker_ratio_15m",
    "taker_ratio_60m",
    "vwap_distance_60m",
    "vwap_distance_240m",
    "volume_zscore_60m",
    "volume_zscore_1440m",
    "trades_zscore_60m",
    "obv_slope_60m",
    "amihud_ratio_60m_1440m",
    "chaikin_money_flow_20",
    "trade_size_ratio_15m_240m",
    "return_volume_correlation_60m",
}


def last_row(minutes: Columns) -> dict[str, float]:
    return dict(zip(NAMES, compute(minutes, last=1).values[0].tolist(), strict=True))


def nulls(row: dict[str, float]) -> set[str]:
    return {name for name, value in row.items() if math.isnan(value)}


def test_prices_that_stand_still() -> None:
    row = last_row(constant(MAX_WINDOW, volume=5.0))
    undefined = {
        "rsi_14",
        "bollinger_position_20",
        "high_low_position_60m",
        "stochastic_k_14",
        "stochastic_d_14",
        "adx_14",
        "plus_di_14",
        "minus_di_14",
        "cci_20",
        "money_flow_14",
        "ultimate_oscillator",
        "amihud_ratio_60m_1440m",
        "return_volume_correlation_60m",
        "btc_correlation_60m",
        "btc_correlation_180m",
        "bollinger_position_60",
        "high_low_position_240m",
        "high_low_position_1440m",
        "slope_r2_60m",
        "efficiency_ratio_60m",
        "choppiness_14",
        "realised_skewness_240m",
        "realised_kurtosis_240m",
    }
    assert nulls(row) == undefined | {"volume_zscore_60m", "volume_zscore_1440m", "trades_zscore_60m"}
    ones = {"taker_ratio_1m", "taker_ratio_15m", "taker_ratio_60m", "trade_size_ratio_15m_240m"}
    for name in set(row) - nulls(row) - NOT_OF_CANDLES_ALONE:
        assert row[name] == float(name in ones), name


def test_no_volume() -> None:
    table = rows(MAX_WINDOW)
    table[:, 5:] = 0.0
    assert nulls(last_row(columns(table))) == FLOW


def test_a_minute_without_trades_nulls_only_its_own_taker_ratio() -> None:
    table = rows(MAX_WINDOW, seed=4)
    table[-1, 5:] = 0.0
    assert nulls(last_row(columns(table))) == {"taker_ratio_1m"}


def test_a_tenfold_jump() -> None:
    table = rows(MAX_WINDOW)
    table[-1, 1:5] = table[-2, 4] * np.array([1.0, 10.0, 1.0, 10.0])
    row = last_row(columns(table))
    assert row["return_1m"] == pytest.approx(math.log(10.0))
    assert row["bollinger_position_20"] == pytest.approx(0.5 + math.sqrt(19) / 4, abs=1e-3)
    assert row["ema_distance_20"] == pytest.approx(10 / (1 + 9 * 2 / 21) - 1, rel=0.01)
    assert row["rsi_14"] == pytest.approx(1.0, abs=1e-2)
    assert row["high_low_position_60m"] == 1.0
    assert all(math.isfinite(value) for value in row.values())


def test_a_single_candle() -> None:
    table = rows(1)
    table[:, 5:] = 4.0
    row = last_row(columns(table))
    assert set(row) - nulls(row) == {feature.name for feature in REGISTRY if feature.window == 1}


def test_the_calendar_is_that_of_the_rows_instant() -> None:
    values = compute(seeded(1_440)).values
    row = {name: values[:, place] for place, name in enumerate(NAMES)}
    quarter = 6 * 60 - 1  # the candle of 05:59 gives the row of 06:00
    assert row["time_of_day_sin"][quarter] == pytest.approx(1.0)
    assert row["time_of_day_cos"][-1] == pytest.approx(1.0)  # the row of the next midnight
    assert row["day_of_week_sin"][0] == 0.0  # a Monday
    assert row["day_of_week_sin"][-1] == pytest.approx(math.sin(math.tau / 7))
    assert START % 86_400_000 == 0


@pytest.mark.parametrize("price", [28_000.0, 1e-5])
def test_values_stay_in_their_ranges(price: float) -> None:
    values = compute(seeded(5_000, seed=6, price=price, tick=price * 1e-6)).values
    for feature, column in zip(REGISTRY, values.T, strict=True):
        known = column[~np.isnan(column)]
        assert len(known) > 3_000
        assert feature.low is None or known.min() >= feature.low - 1e-12, feature.name
        assert feature.high is None or known.max() <= feature.high + 1e-12, feature.name


def test_no_feature_depends_on_the_unit_of_price_or_volume() -> None:
    table, scaled = rows(2_000), rows(2_000)
    scaled[:, 1:5] *= 1_024.0
    scaled[:, [6, 9]] *= 1_024.0
    scaled[:, [5, 6, 8, 9]] *= 64.0
    before, after = compute(columns(table)).values, compute(columns(scaled)).values
    np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)

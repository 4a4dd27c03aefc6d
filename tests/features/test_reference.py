"""The released indicators against TA-Lib, live and recorded, and independent suites, past their warm-up."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ta
import talib
from talipp import indicators as talipp
from tests.features.samples import from_prices, recorded, seeded
from tests.features.suites import (
    SETTLED,
    assert_agree,
    features,
    library_table,
    listed,
    skender_bars,
    skender_results,
)

from marketdata.features import Columns
from marketdata.features.columns import Floats

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas_ta_classic as pandas_ta

pytestmark = pytest.mark.parity


def assert_close(actual: Floats, expected: Floats, first: int, tolerance: float = 1e-9) -> None:
    assert len(actual) > first
    np.testing.assert_allclose(actual[first:], expected[first:], rtol=0, atol=tolerance)


@pytest.fixture(params=["seeded", "recorded"])
def minutes(request: pytest.FixtureRequest) -> Columns:
    """Seeded ones, or days without a halt of trading, after which a recursive average's memory shows."""
    if request.param == "seeded":
        return seeded(4_000)
    return recorded(request.getfixturevalue("real_data"), "ETHUSDT").part(2_000, 6_000)


def test_python_suites(minutes: Columns) -> None:
    ours = features(minutes)
    close, volume, trades = (pd.Series(v) for v in (minutes.close, minutes.volume, minutes.trades))
    own = {"talib": False}
    first = ta.trend.MACD(close)
    second = pandas_ta.macd(close, **own)
    third = talipp.MACD(12, 26, 9, input_values=minutes.close.tolist())
    unbiased = math.sqrt(60 / 59)  # pandas-ta's deviations are those of a sample
    expected = {
        "rsi_14": [
            ta.momentum.RSIIndicator(close).rsi() / 100.0,
            pandas_ta.rsi(close, **own) / 100.0,
            listed(talipp.RSI(14, input_values=minutes.close.tolist())) / 100.0,
        ],
        "macd": [first.macd() / close, second["MACD_12_26_9"] / close],
        "macd_signal": [first.macd_signal() / close, second["MACDs_12_26_9"] / close],
        "macd_histogram": [first.macd_diff() / close, second["MACDh_12_26_9"] / close],
        "volume_zscore_60m": [pandas_ta.zscore(volume, 60, **own) * unbiased],
        "trades_zscore_60m": [pandas_ta.zscore(trades, 60, **own) * unbiased],
        "taker_ratio_15m": [
            pd.Series(minutes.taker_buy_volume).rolling(15).mean() / volume.rolling(15).mean(),
        ],
        "vwap_distance_60m": [
            close * volume.rolling(60).mean() / pd.Series(minutes.quote_volume).rolling(60).mean() - 1.0,
        ],
    }
    for name, part in {"macd": "macd", "macd_signal": "signal", "macd_histogram": "histogram"}.items():
        expected[name].append(listed(third, part) / close)
    for name, suites in expected.items():
        for values in suites:
            assert_agree(ours[name], values)


def test_the_library_itself() -> None:
    minutes = seeded(4_000)
    ours, close = features(minutes), minutes.close
    line, signal, histogram = talib.MACD(close)
    upper, middle, lower = talib.BBANDS(close, timeperiod=20)
    expected = {
        "rsi_14": talib.RSI(close) / 100.0,
        "atr_14": talib.NATR(minutes.high, minutes.low, close) / 100.0,
        "macd": line / close,
        "macd_signal": signal / close,
        "macd_histogram": histogram / close,
        "ema_distance_20": close / talib.EMA(close, 20) - 1.0,
        "ema_distance_60": close / talib.EMA(close, 60) - 1.0,
        "bollinger_width_20": (upper - lower) / middle,
    }
    for name, values in expected.items():
        assert_close(ours[name], values, SETTLED)
    # Its bands come from running sums of squares, hence the wider tolerance here.
    assert_close(ours["bollinger_position_20"], (close - lower) / (upper - lower), SETTLED, 1e-6)


@pytest.mark.parametrize("name", ["A_BTCUSDT-1m_2023-03-20_2000bars", "A_ETHUSDT-1h_2023-03-25_360bars"])
def test_recorded_values_of_ta_lib(real_data: Path, name: str) -> None:
    table = library_table(real_data, name)
    ours = features(from_prices(table["high"], table["low"], table["close"]))
    close, upper, lower = table["close"], table["bb_upper"], table["bb_lower"]
    assert_close(ours["bollinger_width_20"], (upper - lower) / table["bb_mid"], 20)
    assert_close(ours["bollinger_position_20"], (close - lower) / (upper - lower), 20, 1e-6)
    if len(close) > SETTLED:
        assert_close(ours["rsi_14"], table["rsi14"] / 100.0, SETTLED)
        assert_close(ours["atr_14"], table["natr14"] / 100.0, SETTLED)
        assert_close(ours["macd"], table["macd"] / close, SETTLED)
        assert_close(ours["macd_signal"], table["macd_signal"] / close, SETTLED)
        assert_close(ours["macd_histogram"], table["macd_hist"] / close, SETTLED)


def test_an_independent_suite_in_another_language(real_data: Path) -> None:
    bars = skender_bars(real_data)
    high, low, close = bars["high"], bars["low"], bars["close"]
    ours = features(from_prices(high, low, close))

    def expected(indicator: str, key: str) -> Floats:
        return skender_results(real_data, indicator, key)

    assert_close(ours["bollinger_position_20"], expected("bb", "percentB"), 20)
    assert_close(ours["bollinger_width_20"], expected("bb", "width"), 20)
    assert_close(ours["rsi_14"], expected("rsi", "rsi") / 100.0, 420)
    assert_close(ours["atr_14"], expected("atr", "atrp") / 100.0, 420)
    assert_close(ours["macd"], expected("macd", "macd") / close, 420)
    assert_close(ours["macd_signal"], expected("macd", "signal") / close, 490)
    assert_close(ours["macd_histogram"], expected("macd", "histogram") / close, 490)
    assert_close(ours["ema_distance_20"], close / expected("ema", "ema") - 1.0, 420)


def test_published_bands_of_a_charting_site(real_data: Path) -> None:
    path = real_data / "indicators" / "stockcharts" / "cs-bbands.csv"
    with path.open(encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["Close"]]
    close = np.array([float(row["Close"]) for row in rows])
    ours = features(from_prices(close, close, close))
    percent = np.array([float(row["PercentageBand"] or "nan") for row in rows])
    first = int(np.argmax(~np.isnan(percent)))
    assert_close(ours["bollinger_position_20"], percent, first, 1e-6)

"""Our indicators against TA-Lib, live and recorded, and two independent suites, past their warm-up."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import talib
from tests.features.samples import from_prices, seeded

from marketdata.features import NAMES, Columns, compute
from marketdata.features.columns import Floats

pytestmark = pytest.mark.parity
SETTLED = 900  # minutes until a recursive average has forgotten its seed


def features(minutes: Columns) -> dict[str, Floats]:
    return dict(zip(NAMES, compute(minutes).values.T, strict=True))


def assert_close(actual: Floats, expected: Floats, first: int, tolerance: float = 1e-9) -> None:
    assert len(actual) > first
    np.testing.assert_allclose(actual[first:], expected[first:], rtol=0, atol=tolerance)


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
    with gzip.open(real_data / "indicators" / "talib" / f"{name}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    table = {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}
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
    folder = real_data / "indicators" / "skender"
    with (folder / "default.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    high, low, close = (np.array([float(row[key]) for row in rows]) for key in ("high", "low", "close"))
    ours = features(from_prices(high, low, close))

    def expected(indicator: str, key: str) -> Floats:
        records = json.loads((folder / "results" / f"{indicator}.standard.json").read_text("utf-8-sig"))
        return np.array([record.get(key) if record.get(key) is not None else np.nan for record in records])

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

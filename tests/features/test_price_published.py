"""Returns and trend against published cases, whose lengths are their own: the formulas are taken at those."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.features.samples import from_prices

from marketdata.features import Columns, returns, trend
from marketdata.features.columns import Floats
from marketdata.features.feature import Feature
from marketdata.features.volume import vwap_distance

pytestmark = pytest.mark.parity
TOLERANCE = 1e-9


def published(path: Path, *keys: str) -> list[Floats]:
    """Columns of a table, NaN where a cell is empty."""
    with path.open(encoding="utf-8-sig") as file:
        table = [row for row in csv.DictReader(file) if row[keys[0]]]
    return [np.array([float(row[key] or "nan") for row in table]) for key in keys]


def results(folder: Path, indicator: str, key: str) -> Floats:
    records = json.loads((folder / "results" / f"{indicator}.standard.json").read_text("utf-8-sig"))
    return np.array([np.nan if record.get(key) is None else record[key] for record in records])


def priced(high: Floats, low: Floats, close: Floats, volume: Floats, price: Floats) -> Columns:
    """Bars as minutes, all of whose volume traded at ``price``."""
    return replace(from_prices(high, low, close), volume=volume, quote_volume=volume * price)


def assert_published(feature: Feature, minutes: Columns, expected: Floats, tolerance: float) -> None:
    """From the first row that the feature's window fills; the case has a value in each."""
    first = feature.window - 1
    assert len(expected) > first
    assert not np.isnan(expected[first:]).any()
    values = feature.compute(minutes)[first:]
    np.testing.assert_allclose(values, expected[first:], rtol=0, atol=tolerance)


def test_another_suites_published_cases(real_data: Path) -> None:
    folder = real_data / "indicators" / "skender"
    high, low, close, volume = published(folder / "default.csv", "high", "low", "close", "volume")
    minutes = priced(high, low, close, volume, close)
    ratio = results(folder, "kama", "er")
    assert_published(trend._efficiency_ratio(10), minutes, ratio, TOLERANCE)
    assert_published(
        returns._log_return(14), minutes, np.log1p(results(folder, "roc", "roc") / 100.0), TOLERANCE
    )
    score = results(folder, "stdev", "zScore")
    assert_published(trend._bollinger_position(14, 2.0), minutes, 0.5 + score / 4.0, TOLERANCE)
    average = results(folder, "vwma", "vwma")
    assert_published(vwap_distance(14, "trend", since=2), minutes, close / average - 1.0, TOLERANCE)
    since_start = results(folder, "vwap", "vwap")
    typical = priced(high, low, close, volume, (high + low + close) / 3.0)
    whole = vwap_distance(len(close), "trend", since=2)
    assert_published(whole, typical, close / since_start - 1.0, TOLERANCE)


def test_another_suites_channel_is_that_of_the_bars_before(real_data: Path) -> None:
    """Its channel leaves the newest bar out: it is ours of the bar before."""
    folder = real_data / "indicators" / "skender"
    high, low, close = published(folder / "default.csv", "high", "low", "close")
    upper, lower = results(folder, "donchian", "upperBand"), results(folder, "donchian", "lowerBand")
    ours = trend._channel_position(20).compute(from_prices(high, low, close))[19:-1]
    np.testing.assert_allclose(
        ours, (close[19:-1] - lower[20:]) / (upper[20:] - lower[20:]), rtol=0, atol=TOLERANCE
    )


def test_a_charting_sites_published_cases(real_data: Path) -> None:
    folder = real_data / "indicators" / "stockcharts"
    high, low, close, position = published(folder / "cs-dc.csv", "high", "low", "close", "dc_percentage")
    assert_published(trend._channel_position(20), from_prices(high, low, close), position, 1e-9)
    close, ratio = published(folder / "cs-kama.csv", "Close", "ER")
    assert_published(trend._efficiency_ratio(10), from_prices(close, close, close), ratio, 1e-6)  # six digits
    close, change = published(folder / "cs-roc.csv", "Close", "ROC")
    minutes = from_prices(close, close, close)
    assert_published(returns._log_return(12), minutes, np.log1p(change / 100.0), 1e-9)
    keys = ("High", "Low", "Close", "Volume", "Typical Price", "vwap")
    high, low, close, volume, typical, average = published(folder / "cs-vwap.csv", *keys)
    minutes = priced(high, low, close, volume, typical)
    assert_published(vwap_distance(14, "trend", since=2), minutes, close / average - 1.0, 1e-6)


@pytest.mark.parametrize("name", ["A_BTCUSDT-1m_2023-03-20_2000bars", "A_ETHUSDT-1h_2023-03-25_360bars"])
def test_recorded_rates_of_change(real_data: Path, name: str) -> None:
    with gzip.open(real_data / "indicators" / "talib" / f"{name}.csv.gz", "rt") as file:
        table = list(csv.DictReader(file))
    close, rate = (np.array([float(row[key] or "nan") for row in table]) for key in ("close", "roc10"))
    minutes = from_prices(close, close, close)
    assert_published(returns._log_return(10), minutes, np.log1p(rate / 100.0), TOLERANCE)

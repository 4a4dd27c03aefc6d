"""Returns, volatility, trend and average price against TA-Lib and three libraries in Python, past warm-up.

pandas-ta-classic runs without TA-Lib, talipp one candle at a time, ta on pandas; they share no code. Where a
feature is a library's indicator in other units, the conversion is written out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandas_ta_classic as pta
import pytest
import scipy.stats
import ta
import talib
import talipp.indicators as tpp
from talipp.ohlcv import OHLCVFactory
from tests.features.samples import SYMBOLS, columns, gappy, recorded, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute
from marketdata.features.columns import Floats

pytestmark = pytest.mark.parity
N = 4_000
TOLERANCE = 1e-9
"""Of the greatest value of a feature below 1, of 1 for the others."""
RUNNING = {"TA-Lib BBANDS", "ta pband"}
"""Their bands come from running sums of squares: where the band is narrow, the position in it is only as good
as what is left of those."""
RUNNING_TOLERANCE = 1e-6
WORKED_ALONE = {"parkinson_60m", "garman_klass_60m", "yang_zhang_60m", "yang_zhang_240m"}
"""No library here has these: test_price_values.py works them out."""

Library = Callable[[Columns], Floats]


@cache
def frame(minutes: Columns) -> pd.DataFrame:
    names = ("open", "high", "low", "close", "volume", "quote_volume")
    return pd.DataFrame({name: getattr(minutes, name) for name in names})


@cache
def traded_at(minutes: Columns) -> pd.Series:
    """The average price of each minute: with it, a library's average of typical prices is one of trades."""
    table = frame(minutes)
    return (table.quote_volume / table.volume).fillna(table.close)


@cache
def candles(minutes: Columns) -> Any:
    table = frame(minutes)
    return OHLCVFactory.from_matrix(table[["open", "high", "low", "close", "volume"]].to_numpy().tolist())


def outputs(indicator: Any) -> Floats:
    return np.array(
        [np.nan if value is None else value for value in indicator.output_values], dtype=np.float64
    )


def one_minute(minutes: Columns) -> pd.Series:
    return pta.log_return(frame(minutes).close)


def library_of_log_returns(minutes: int) -> dict[str, Library]:
    return {
        "TA-Lib ROCR": lambda m: np.log(talib.ROCR(m.close, minutes)),
        "pandas-ta log_return": lambda m: pta.log_return(frame(m).close, length=minutes),
        "ta roc": lambda m: np.log1p(ta.momentum.ROCIndicator(frame(m).close, minutes).roc() / 100.0),
        "talipp ROC": lambda m: np.log1p(outputs(tpp.ROC(minutes, m.close.tolist())) / 100.0),
    }


def library_of_deviations(minutes: int) -> dict[str, Library]:
    return {
        "TA-Lib STDDEV": lambda m: talib.STDDEV(np.log(talib.ROCR(m.close, 1)), minutes),
        "pandas-ta stdev": lambda m: pta.stdev(one_minute(m), length=minutes, ddof=0, talib=False),
        "pandas-ta hvol": lambda m: (
            pta.hvol(frame(m).close, length=minutes, annualization=1)
            * (math.sqrt(1.0 - 1.0 / minutes) / 100.0)
        ),
    }


def library_of_moments(order: int, minutes: int) -> dict[str, Library]:
    """Realised moments are standardised ones about zero, not about the mean."""

    def standardised(m: Columns) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(one_minute(m).to_numpy()[1:], minutes)
        moment, second = (scipy.stats.moment(windows, k, axis=1, center=0.0) for k in (order, 2))
        return np.concatenate((np.full(minutes, np.nan), moment / second ** (order / 2)))

    return {"scipy moment": standardised}


def library_of_averages(period: int) -> dict[str, Library]:
    return {
        "TA-Lib EMA": lambda m: m.close / talib.EMA(m.close, period) - 1.0,
        "pandas-ta ema": lambda m: m.close / pta.ema(frame(m).close, length=period, talib=False) - 1.0,
        "ta ema": lambda m: m.close / ta.trend.EMAIndicator(frame(m).close, period).ema_indicator() - 1.0,
        "talipp EMA": lambda m: m.close / outputs(tpp.EMA(period, m.close.tolist())) - 1.0,
    }


def library_of_vwap(minutes: int) -> dict[str, Library]:
    def by_ta(m: Columns) -> Floats:
        price, volume = traded_at(m), frame(m).volume
        average = ta.volume.VolumeWeightedAveragePrice(price, price, price, volume, minutes)
        return m.close / average.volume_weighted_average_price() - 1.0

    def by_talipp(m: Columns) -> Floats:
        price, volume = traded_at(m), frame(m).volume
        rows = [[p, p, p, p, v] for p, v in zip(price, volume, strict=True)]
        return m.close / outputs(tpp.VWMA(minutes, OHLCVFactory.from_matrix(rows))) - 1.0

    return {
        "TA-Lib SUM": lambda m: (
            m.close / (talib.SUM(m.quote_volume, minutes) / talib.SUM(m.volume, minutes)) - 1.0
        ),
        "pandas-ta vwma": lambda m: m.close / pta.vwma(traded_at(m), frame(m).volume, length=minutes) - 1.0,
        "ta vwap": by_ta,
        "talipp VWMA": by_talipp,
    }


def bands(m: Columns, minutes: int) -> Any:
    return tpp.BB(minutes, 2.0, m.close.tolist()).output_values


def library_of_percent_b(minutes: int) -> dict[str, Library]:
    def by_ta_lib(m: Columns) -> Floats:
        upper, _, lower = talib.BBANDS(m.close, timeperiod=minutes)
        return (m.close - lower) / (upper - lower)

    def by_talipp(m: Columns) -> Floats:
        found = zip(m.close, bands(m, minutes), strict=True)
        return np.array([np.nan if b is None else (c - b.lb) / (b.ub - b.lb) for c, b in found])

    return {
        "TA-Lib BBANDS": by_ta_lib,
        "pandas-ta bbands": lambda m: pta.bbands(frame(m).close, length=minutes, talib=False).iloc[:, 4],
        "ta pband": lambda m: ta.volatility.BollingerBands(frame(m).close, minutes, 2).bollinger_pband(),
        "talipp BB": by_talipp,
    }


def library_of_band_width(minutes: int) -> dict[str, Library]:
    def by_ta_lib(m: Columns) -> Floats:
        upper, middle, lower = talib.BBANDS(m.close, timeperiod=minutes)
        return (upper - lower) / middle

    def by_talipp(m: Columns) -> Floats:
        return np.array([np.nan if b is None else (b.ub - b.lb) / b.cb for b in bands(m, minutes)])

    return {
        "TA-Lib BBANDS": by_ta_lib,
        "pandas-ta bbands": lambda m: (
            pta.bbands(frame(m).close, length=minutes, talib=False).iloc[:, 3] / 100.0
        ),
        "ta wband": lambda m: (
            ta.volatility.BollingerBands(frame(m).close, minutes, 2).bollinger_wband() / 100.0
        ),
        "talipp BB": by_talipp,
    }


def library_of_channels(minutes: int) -> dict[str, Library]:
    def by_ta_lib(m: Columns) -> Floats:
        top, bottom = talib.MAX(m.high, minutes), talib.MIN(m.low, minutes)
        return (m.close - bottom) / (top - bottom)

    def by_pandas_ta(m: Columns) -> Floats:
        table = frame(m)
        found = pta.donchian(table.high, table.low, lower_length=minutes, upper_length=minutes).to_numpy().T
        return (m.close - found[0]) / (found[2] - found[0])

    def by_ta(m: Columns) -> Floats:
        table = frame(m)
        return ta.volatility.DonchianChannel(
            table.high, table.low, table.close, minutes
        ).donchian_channel_pband()

    def by_talipp(m: Columns) -> Floats:
        found = zip(m.close, tpp.DonchianChannels(minutes, candles(m)).output_values, strict=True)
        return np.array([np.nan if b is None else (c - b.lb) / (b.ub - b.lb) for c, b in found])

    libraries = {"TA-Lib MAX MIN": by_ta_lib, "pandas-ta donchian": by_pandas_ta, "ta pband": by_ta}
    # talipp looks through each window anew: minutes for a day's.
    return libraries if minutes > 240 else {**libraries, "talipp DonchianChannels": by_talipp}


def library_of_true_range() -> dict[str, Library]:
    def by_ta(m: Columns) -> Floats:
        table = frame(m)
        found = ta.volatility.AverageTrueRange(table.high, table.low, table.close, 14)
        return found.average_true_range() / m.close

    return {
        "TA-Lib NATR": lambda m: talib.NATR(m.high, m.low, m.close) / 100.0,
        "pandas-ta natr": lambda m: (
            pta.natr(frame(m).high, frame(m).low, frame(m).close, talib=False) / 100.0
        ),
        "ta atr": by_ta,
        "talipp NATR": lambda m: outputs(tpp.NATR(14, candles(m))) / 100.0,
    }


def library_of_choppiness() -> dict[str, Library]:
    def by_ta_lib(m: Columns) -> Floats:
        way = talib.SUM(talib.TRANGE(m.high, m.low, m.close), 14)
        return talib.LOG10(way / (talib.MAX(m.high, 14) - talib.MIN(m.low, 14))) / math.log10(14)

    return {
        "TA-Lib SUM TRANGE": by_ta_lib,
        "pandas-ta chop": lambda m: pta.chop(frame(m).high, frame(m).low, frame(m).close) / 100.0,
        "talipp CHOP": lambda m: outputs(tpp.CHOP(14, candles(m))) / 100.0,
    }


def library_of_efficiency(minutes: int) -> dict[str, Library]:
    return {
        "TA-Lib MOM SUM": lambda m: (
            np.abs(talib.MOM(m.close, minutes)) / talib.SUM(np.abs(talib.MOM(m.close, 1)), minutes)
        ),
        "pandas-ta er": lambda m: pta.er(frame(m).close, length=minutes),
    }


def library_of_slopes(minutes: int) -> dict[str, Library]:
    return {
        "TA-Lib LINEARREG_SLOPE": lambda m: talib.LINEARREG_SLOPE(m.close, minutes) / m.close,
        "pandas-ta linreg": lambda m: pta.linreg(frame(m).close, minutes, slope=True, talib=False) / m.close,
    }


def library_of_fits(minutes: int) -> dict[str, Library]:
    """Both square prices; less their mean they cancel less."""
    return {
        "TA-Lib CORREL": lambda m: (
            talib.CORREL(m.close - m.close.mean(), np.arange(N) - N / 2.0, minutes) ** 2
        ),
        "pandas-ta linreg": lambda m: (
            pta.linreg(frame(m).close - m.close.mean(), minutes, r=True, talib=False) ** 2
        ),
    }


LIBRARIES: dict[str, dict[str, Library]] = {
    **{f"return_{n}m": library_of_log_returns(n) for n in (1, 5, 15, 30, 60, 120, 240, 720, 1_440)},
    **{f"volatility_{n}m": library_of_deviations(n) for n in (15, 60, 240, 1_440)},
    "rogers_satchell_60m": {"talipp RogersSatchell": lambda m: outputs(tpp.RogersSatchell(60, candles(m)))},
    "realised_skewness_240m": library_of_moments(3, 240),
    "realised_kurtosis_240m": library_of_moments(4, 240),
    "atr_14": library_of_true_range(),
    **{f"ema_distance_{n}": library_of_averages(n) for n in (20, 60, 100)},
    **{f"vwap_distance_{n}m": library_of_vwap(n) for n in (60, 240)},
    **{f"bollinger_position_{n}": library_of_percent_b(n) for n in (20, 60)},
    "bollinger_width_20": library_of_band_width(20),
    **{f"high_low_position_{n}m": library_of_channels(n) for n in (60, 240, 1_440)},
    "slope_60m": library_of_slopes(60),
    "slope_r2_60m": library_of_fits(60),
    "efficiency_ratio_60m": library_of_efficiency(60),
    "choppiness_14": library_of_choppiness(),
}


@cache
def sample(name: str, folder: Path) -> Columns:
    """Nearly three days: seeded, seeded with gaps between candles, or recorded from 2023-03-20 on."""
    if name == "seeded":
        return seeded(N)
    if name == "gappy":
        return columns(gappy(N, seed=41))
    return recorded(folder, name).part(7 * 1_440, 7 * 1_440 + N)


@cache
def features(minutes: Columns) -> dict[str, Floats]:
    return dict(zip(NAMES, compute(minutes).values.T, strict=True))


@pytest.mark.parametrize("series", ["seeded", "gappy"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_agree_on_seeded_days(name: str, series: str) -> None:
    assert_libraries_agree(name, sample(series, Path()))


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_agree_on_recorded_days(real_data: Path, name: str, symbol: str) -> None:
    assert_libraries_agree(name, sample(symbol, real_data))


def assert_libraries_agree(name: str, minutes: Columns) -> None:
    for library, compute_theirs in LIBRARIES[name].items():
        with np.errstate(all="ignore"):
            found = compute_theirs(minutes)
        expected = np.asarray(found, dtype=np.float64)[MAX_WINDOW:]
        assert np.isfinite(expected).all(), library
        scale = min(1.0, float(np.abs(expected).max()))
        tolerance = scale * (RUNNING_TOLERANCE if library in RUNNING else TOLERANCE)
        actual = features(minutes)[name][MAX_WINDOW:]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=library)


def test_every_indicator_that_a_library_shares_is_compared() -> None:
    groups = ("returns", "volatility", "trend")
    named = {feature.name for feature in REGISTRY if feature.group in groups}
    assert named | {"vwap_distance_60m"} == {*LIBRARIES} | WORKED_ALONE
    for name, libraries in LIBRARIES.items():
        independent = [library for library in libraries if not library.startswith("TA-Lib")]
        assert independent, name

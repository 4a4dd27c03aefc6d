"""Oscillators, directions, flows and correlations against TA-Lib, three Python suites, and published tables.

TA-Lib and pandas-ta carry running sums and recursive averages, so they agree past their warm-up, on days
without a halt of trading: after one, what a recursive average still remembers of the time before is more
than 1e-12 of what has happened since.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ta
import talib
from talipp import indicators as talipp
from talipp.ohlcv import OHLCVFactory
from tests.features.samples import recorded, seeded
from tests.features.suites import (
    SETTLED,
    assert_agree,
    features,
    from_bars,
    library_table,
    listed,
    published,
    skender_bars,
    skender_results,
)

from marketdata.features import Columns
from marketdata.features.columns import Floats

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas_ta_classic as pandas_ta

pytestmark = pytest.mark.parity
N = 3_500
RECORDED = {"recorded ETHUSDT": "ETHUSDT", "recorded SOLUSDT": "SOLUSDT"}
SEEDED = {
    "seeded": (1, 28_000.0, 0.01),
    "seeded, tiny": (5, 1e-5, 1e-9),
    "seeded, huge": (6, 1e6, 0.01),
}


@cache
def calm_days(folder: Path, symbol: str) -> Columns:
    return recorded(folder, symbol).part(2_000, 2_000 + N)


@pytest.fixture(params=[*SEEDED, *RECORDED])
def minutes(request: pytest.FixtureRequest) -> Columns:
    if request.param in SEEDED:
        return seeded(N, *SEEDED[request.param])
    return calm_days(request.getfixturevalue("real_data"), RECORDED[request.param])


def series(minutes: Columns) -> tuple[pd.Series, pd.Series, pd.Series, pd.Series]:
    return tuple(pd.Series(values) for values in (minutes.high, minutes.low, minutes.close, minutes.volume))


def ticks(minutes: Columns) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Recorded prices in whole ticks, which add up exactly: two typical prices that are equal are so here.

    As they are, (high + low + close) / 3 of SOLUSDT rises or falls by a rounding in 1 of 54 minutes, and both
    Python suites take that for a move.
    """
    prices = series(minutes)[:3]
    whole = [(price * 100.0).round() for price in prices]
    traded = all(np.allclose(a, 100.0 * b, rtol=1e-12, atol=0) for a, b in zip(whole, prices, strict=True))
    return tuple(whole) if traded else prices


def test_ta_lib(minutes: Columns) -> None:
    ours = features(minutes)
    high, low, close = minutes.high, minutes.low, minutes.close
    volume = minutes.volume * (28_000.0 / close[0])  # its MFI is 0 where less than 1 of money flows
    k, d = talib.STOCHF(high, low, close, fastk_period=14, fastd_period=3)
    balance = talib.OBV(close, volume)
    spread = np.where(high > low, high - low, np.inf)
    flow = ((close - low) - (high - close)) / spread * volume
    expected = {
        "stochastic_k_14": k / 100.0,
        "stochastic_d_14": d / 100.0,
        "roc_10": talib.ROCP(close, timeperiod=10),
        "adx_14": talib.ADX(high, low, close, timeperiod=14) / 100.0,
        "plus_di_14": talib.PLUS_DI(high, low, close, timeperiod=14) / 100.0,
        "minus_di_14": talib.MINUS_DI(high, low, close, timeperiod=14) / 100.0,
        "cci_20": talib.CCI(high, low, close, timeperiod=20) / 100.0,
        "aroon_oscillator_25": talib.AROONOSC(high, low, timeperiod=25) / 100.0,
        "money_flow_14": talib.MFI(high, low, close, volume, timeperiod=14) / 100.0,
        "ultimate_oscillator": talib.ULTOSC(high, low, close) / 100.0,
        "trix_15": talib.TRIX(close, timeperiod=15) / 100.0,
        "taker_ratio_60m": talib.SMA(minutes.taker_buy_volume, 60) / talib.SMA(minutes.volume, 60),
        "obv_slope_60m": talib.LINEARREG_SLOPE(balance, timeperiod=60) / talib.SMA(volume, 60),
        "chaikin_money_flow_20": talib.SMA(flow, 20) / talib.SMA(volume, 20),
    }
    for name, values in expected.items():
        assert_agree(ours[name], values)


def test_ta(minutes: Columns, request: pytest.FixtureRequest) -> None:
    ours = features(minutes)
    high, low, close, volume = series(minutes)
    stochastic = ta.momentum.StochasticOscillator(high, low, close, 14, 3)
    with np.errstate(all="ignore"):
        direction = ta.trend.ADXIndicator(high, low, close, 14)
        expected = {
            "stochastic_k_14": stochastic.stoch() / 100.0,
            "stochastic_d_14": stochastic.stoch_signal() / 100.0,
            "roc_10": ta.momentum.ROCIndicator(close, 10).roc() / 100.0,
            "adx_14": direction.adx() / 100.0,
            "plus_di_14": direction.adx_pos() / 100.0,
            "minus_di_14": direction.adx_neg() / 100.0,
            "cci_20": ta.trend.CCIIndicator(high, low, close, 20).cci() / 100.0,
            "money_flow_14": ta.volume.MFIIndicator(*ticks(minutes), volume, 14).money_flow_index() / 100.0,
            "ultimate_oscillator": ta.momentum.UltimateOscillator(high, low, close).ultimate_oscillator()
            / 100.0,
            "trix_15": ta.trend.TRIXIndicator(close, 15).trix() / 100.0,
            "chaikin_money_flow_20": ta.volume.ChaikinMoneyFlowIndicator(
                high, low, close, volume, 20
            ).chaikin_money_flow(),
        }
    if (
        request.node.callspec.id == "seeded"
    ):  # where no two highs are equal: of equal ones it takes the oldest
        expected["aroon_oscillator_25"] = ta.trend.AroonIndicator(high, low, 25).aroon_indicator() / 100.0
    for name, values in expected.items():
        assert_agree(ours[name], values)


def test_pandas_ta(minutes: Columns) -> None:
    ours = features(minutes)
    high, low, close, volume = series(minutes)
    own = {"talib": False}
    k, d = (pandas_ta.stochf(high, low, close, 14, 3, **own)[f"STOCHF{part}_14_3"] for part in "kd")
    direction = pandas_ta.adx(high, low, close, 14, **own)
    balance = pandas_ta.obv(close, volume, **own)
    expected = {
        "stochastic_k_14": k.reindex(close.index) / 100.0,
        "stochastic_d_14": d.reindex(close.index) / 100.0,
        "roc_10": pandas_ta.roc(close, 10, **own) / 100.0,
        "aroon_oscillator_25": pandas_ta.aroon(high, low, 25, **own)["AROONOSC_25"] / 100.0,
        "money_flow_14": pandas_ta.mfi(*ticks(minutes), volume, 14, **own) / 100.0,
        "ultimate_oscillator": pandas_ta.uo(high, low, close, **own) / 100.0,
        "trix_15": pandas_ta.trix(close, 15, **own)["TRIX_15_9"] / 100.0,
        "obv_slope_60m": pandas_ta.linreg(balance, 60, slope=True, **own) / volume.rolling(60).mean(),
        # Its deviations are those of a sample.
        "volume_zscore_60m": pandas_ta.zscore(volume, 60, **own) * math.sqrt(60 / 59),
        "volume_zscore_1440m": pandas_ta.zscore(volume, 1440, **own) * math.sqrt(1440 / 1439),
    }
    for name, values in expected.items():
        assert_agree(ours[name], values, 1_500)
    if close[0] > 1.0:  # to what it divides by it adds 2e-16: not little beside a range of 1e-8
        for name, column in {"adx_14": "ADX_14", "plus_di_14": "DMP_14", "minus_di_14": "DMN_14"}.items():
            assert_agree(ours[name], direction[column] / 100.0)
        assert_agree(ours["cci_20"], pandas_ta.cci(high, low, close, 20, **own) / 100.0)
        assert_agree(ours["chaikin_money_flow_20"], pandas_ta.cmf(high, low, close, volume, length=20))


def test_talipp(minutes: Columns) -> None:
    ours = features(minutes)
    close = minutes.close.tolist()
    names = ("open", "high", "low", "close", "volume")
    bars = OHLCVFactory.from_dict({name: getattr(minutes, name).tolist() for name in names})
    stochastic = talipp.Stoch(14, 3, input_values=bars)
    direction = talipp.ADX(14, 14, input_values=bars)
    aroon = talipp.Aroon(25, input_values=bars)
    expected = {
        "stochastic_k_14": listed(stochastic, "k") / 100.0,
        "stochastic_d_14": listed(stochastic, "d") / 100.0,
        "roc_10": listed(talipp.ROC(10, input_values=close)) / 100.0,
        "adx_14": listed(direction, "adx") / 100.0,
        "plus_di_14": listed(direction, "plus_di") / 100.0,
        "minus_di_14": listed(direction, "minus_di") / 100.0,
        "cci_20": listed(talipp.CCI(20, input_values=bars)) / 100.0,
        "aroon_oscillator_25": (listed(aroon, "up") - listed(aroon, "down")) / 100.0,
        "ultimate_oscillator": listed(talipp.UO(7, 14, 28, input_values=bars)) / 100.0,
        "trix_15": listed(talipp.TRIX(15, input_values=close)) / 10_000.0,
    }
    for name, values in expected.items():
        assert_agree(ours[name], values)


def test_pandas_on_what_the_suites_do_not_have(minutes: Columns) -> None:
    ours = features(minutes)
    high, low, close, volume = series(minutes)
    quote, trades = pd.Series(minutes.quote_volume), pd.Series(minutes.trades)
    returns = np.log(close / close.shift())
    impact = (returns.abs() / quote).where(quote > 0.0)
    singles = np.log(high / low) ** 2
    beta = singles + singles.shift()
    gamma = np.log(high.rolling(2).max() / low.rolling(2).min()) ** 2
    k = 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    spreads = (2.0 * (np.exp(alpha) - 1.0) / (1.0 + np.exp(alpha))).clip(lower=0.0)

    def mean(values: pd.Series, minutes: int) -> pd.Series:
        return values.rolling(minutes, min_periods=1).mean()

    expected = {
        "volume_zscore_1440m": (volume - mean(volume, 1440)) / volume.rolling(1440).std(ddof=0),
        "amihud_ratio_60m_1440m": mean(impact, 60) / mean(impact, 1440),
        "trade_size_ratio_15m_240m": (mean(volume, 15) / mean(trades, 15))
        / (mean(volume, 240) / mean(trades, 240)),
        "return_volume_correlation_60m": returns.rolling(60).corr(volume),
        "corwin_schultz_60m": mean(spreads, 60),
    }
    for name, values in expected.items():
        assert_agree(ours[name], values, 1_500)


@pytest.mark.parametrize("name", ["A_BTCUSDT-1m_2023-03-20_2000bars", "A_ETHUSDT-1h_2023-03-25_360bars"])
def test_recorded_values_of_ta_lib(real_data: Path, name: str) -> None:
    table = library_table(real_data, name)
    ours = features(from_bars(table["high"], table["low"], table["close"], table["volume"]))
    assert_agree(ours["stochastic_k_14"], 1.0 + table["willr14"] / 100.0, 30)
    assert_agree(ours["stochastic_d_14"], table["stoch_k"] / 100.0, 30)  # %K, slowed by 3
    assert_agree(ours["cci_20"], table["cci20"] / 100.0, 30)
    assert_agree(ours["money_flow_14"], table["mfi14"] / 100.0, 30)
    assert_agree(ours["roc_10"], table["roc10"] / 100.0, 30)
    if len(table["close"]) > SETTLED:
        assert_agree(ours["adx_14"], table["adx14"] / 100.0)
        assert_agree(ours["plus_di_14"], table["pdi14"] / 100.0)
        assert_agree(ours["minus_di_14"], table["mdi14"] / 100.0)


def test_an_independent_suite_in_another_language(real_data: Path) -> None:
    bars = skender_bars(real_data)
    ours = features(from_bars(**bars))

    def expected(indicator: str, key: str) -> Floats:
        return skender_results(real_data, indicator, key) / 100.0

    assert_agree(ours["stochastic_d_14"], expected("stoch", "oscillator"), 30)  # %K, slowed by 3
    assert_agree(ours["cci_20"], expected("cci", "cci"), 30)
    assert_agree(ours["money_flow_14"], expected("mfi", "mfi"), 30)
    assert_agree(ours["plus_di_14"], expected("adx", "pdi"), 420)
    assert_agree(ours["minus_di_14"], expected("adx", "mdi"), 420)
    # Fewer bars than the window: their own copy in front of them, forgotten by bar 420 as its seed is.
    twice = features(from_bars(**{key: np.tile(values, 2) for key, values in bars.items()}))
    n = len(bars["close"])
    assert_agree(twice["adx_14"][n:], expected("adx", "adx"), 420)
    slope = talib.LINEARREG_SLOPE(skender_results(real_data, "obv", "obv"), 60)
    assert_agree(ours["obv_slope_60m"], slope / talib.SMA(bars["volume"], 60), 60)


def test_the_other_suite_takes_the_oldest_of_equal_highs(real_data: Path) -> None:
    bars = skender_bars(real_data)
    ours = features(from_bars(**bars))["aroon_oscillator_25"]
    theirs = skender_results(real_data, "aroon", "oscillator") / 100.0
    differing = np.flatnonzero(np.abs(ours - theirs) > 1e-9)
    assert differing.tolist() == [193, 232]
    for place in differing:
        high, low = bars["high"][place - 25 : place + 1], bars["low"][place - 25 : place + 1]
        assert np.sum(high == high.max()) == 2 or np.sum(low == low.min()) == 2


@pytest.mark.parametrize(
    ("sheet", "column", "name", "digits"),
    [
        ("cci", "CCI", "cci_20", 1e-6),  # prices rounded to 4 places, as CCI is
        ("mfi", "MFI", "money_flow_14", 1e-7),
        ("ultosc", "Ult_Osc", "ultimate_oscillator", 1e-8),
    ],
)
def test_published_tables_of_a_charting_site(
    real_data: Path, sheet: str, column: str, name: str, digits: float
) -> None:
    table = published(real_data, sheet)
    volume = table.get("Volume", np.ones(len(table["Close"])))
    ours = features(from_bars(table["High"], table["Low"], table["Close"], volume))[name]
    first = int(np.argmax(~np.isnan(table[column])))
    assert first == int(np.argmax(~np.isnan(ours)))
    assert_agree(ours, table[column] / 100.0, first, digits)


def test_published_directions_of_a_charting_site(real_data: Path) -> None:
    table = published(real_data, "adx")
    n = len(table["Close"])
    bars = [np.tile(table[key], 2) for key in ("High", "Low", "Close")]  # more than the window, as above
    ours = features(from_bars(*bars, np.ones(2 * n)))
    assert_agree(ours["plus_di_14"][n:], table["+DI14"] / 100.0, 420)
    assert_agree(ours["minus_di_14"][n:], table["-DI14"] / 100.0, 420)
    assert_agree(ours["adx_14"][n:], table["ADX"] / 100.0, 420)


def test_through_a_halt_of_trading_finite_windows_still_agree(real_data: Path) -> None:
    minutes = recorded(real_data, "SOLUSDT").part(15_000, 17_500)  # 152 flat minutes on 2023-03-24
    ours = features(minutes)
    high, low, close, volume = series(minutes)
    k, d = talib.STOCHF(minutes.high, minutes.low, minutes.close, fastk_period=14, fastd_period=3)
    expected = {
        "stochastic_k_14": k / 100.0,
        "stochastic_d_14": d / 100.0,
        "roc_10": talib.ROCP(minutes.close, timeperiod=10),
        "aroon_oscillator_25": talib.AROONOSC(minutes.high, minutes.low, timeperiod=25) / 100.0,
        "cci_20": ta.trend.CCIIndicator(high, low, close, 20).cci() / 100.0,
        "money_flow_14": ta.volume.MFIIndicator(*ticks(minutes), volume, 14).money_flow_index() / 100.0,
        "ultimate_oscillator": ta.momentum.UltimateOscillator(high, low, close).ultimate_oscillator() / 100.0,
    }
    for name, values in expected.items():
        assert_agree(ours[name], values, 100)
        assert name in ("roc_10", "aroon_oscillator_25") or np.isnan(ours[name][100:]).any()

"""Which of our columns other libraries have too, and how each is asked for them.

The call alone is timed, without the little it would still take to make our column of theirs (a percentage
to a fraction, an average to a distance). ``pandas-ta-classic`` hands some columns to TA-Lib where that is
installed; it is asked for its own code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pandas as pd
import pandas_ta_classic as pta
from ta import momentum, others, trend, volatility, volume

from marketdata.features import Columns

Call = Callable[[pd.DataFrame], Any]


class Shared(NamedTuple):
    """Columns of ours that one call yields; None where a library has no such call.

    A call of ``ta`` is one object and the methods it is asked by, of ``pandas-ta-classic`` one function.
    """

    names: tuple[str, ...]
    ta: Call | None
    pandas_ta: Call | None


def frame(columns: Columns) -> pd.DataFrame:
    """The same minutes as the libraries take them, with returns and sizes as given."""
    given = ("open", "high", "low", "close", "volume", "trades", "spread_bps", "reference_close")
    table = pd.DataFrame(
        {name: getattr(columns, name) for name in given},
        index=pd.to_datetime(columns.time, unit="ms", utc=True),
    )
    table["returns"] = pta.log_return(table.close)
    table["reference_returns"] = pta.log_return(table.reference_close)
    return table


def _return(n: int) -> Call:
    return lambda f: pta.log_return(f.close, length=n)


def _deviation(n: int) -> Call:
    return lambda f: pta.stdev(f.returns, n, ddof=0, talib=False)


def _bands(n: int) -> Shared:
    def both(f: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        bands = volatility.BollingerBands(f.close, n, 2)
        return bands.bollinger_pband(), bands.bollinger_wband()

    def position(f: pd.DataFrame) -> pd.Series:
        found: pd.Series = volatility.BollingerBands(f.close, n, 2).bollinger_pband()
        return found

    # Of 60 minutes we have no width.
    names = (f"bollinger_position_{n}", f"bollinger_width_{n}") if n == 20 else (f"bollinger_position_{n}",)
    asked = both if n == 20 else position
    return Shared(names, asked, lambda f: pta.bbands(f.close, n, 2, talib=False))


def _ema(n: int) -> Shared:
    return Shared(
        (f"ema_distance_{n}",),
        lambda f: trend.EMAIndicator(f.close, n).ema_indicator(),
        lambda f: pta.ema(f.close, n, talib=False),
    )


def _channel(n: int) -> Shared:
    return Shared(
        (f"high_low_position_{n}m",),
        lambda f: volatility.DonchianChannel(f.high, f.low, f.close, n).donchian_channel_pband(),
        lambda f: pta.donchian(f.high, f.low, n, n),
    )


def _average_price(n: int) -> Shared:
    def rolling(f: pd.DataFrame) -> pd.Series:
        average = volume.VolumeWeightedAveragePrice(f.high, f.low, f.close, f.volume, n)
        found: pd.Series = average.volume_weighted_average_price()
        return found

    return Shared((f"vwap_distance_{n}m",), rolling, lambda f: pta.vwma(f.close, f.volume, n))


def _zscore(column: str, n: int) -> Shared:
    return Shared((f"{column}_zscore_{n}m",), None, lambda f: pta.zscore(f[column], n, std=1))


def _reference(n: int) -> tuple[Shared, Shared]:
    return (
        Shared(
            (f"btc_correlation_{n}m",), None, lambda f: pta.correl(f.returns, f.reference_returns, length=n)
        ),
        Shared((f"btc_beta_{n}m",), None, lambda f: pta.beta(f.returns, f.reference_returns, length=n)),
    )


def _all(indicator: Callable[..., Any], methods: str, columns: str, *arguments: int) -> Call:
    """An object of ``ta`` and what it is asked for."""

    def call(f: pd.DataFrame) -> list[Any]:
        made = indicator(*(f[name] for name in columns.split()), *arguments)
        return [getattr(made, method)() for method in methods.split()]

    return call


_BARS: Final = "high low close"

SHARED: Final = (
    Shared(("return_1m",), lambda f: others.DailyLogReturnIndicator(f.close).daily_log_return(), _return(1)),
    *(Shared((f"return_{n}m",), None, _return(n)) for n in (5, 15, 30, 60, 120, 240, 720, 1440)),
    *(Shared((f"volatility_{n}m",), None, _deviation(n)) for n in (15, 60, 240, 1440)),
    Shared(
        ("atr_14",),
        _all(volatility.AverageTrueRange, "average_true_range", _BARS, 14),
        lambda f: pta.natr(f.high, f.low, f.close, 14, talib=False),
    ),
    Shared(
        ("rsi_14",),
        lambda f: momentum.RSIIndicator(f.close, 14).rsi(),
        lambda f: pta.rsi(f.close, 14, talib=False),
    ),
    Shared(
        ("macd", "macd_signal", "macd_histogram"),
        _all(trend.MACD, "macd macd_signal macd_diff", "close"),
        lambda f: pta.macd(f.close, 12, 26, 9, talib=False),
    ),
    Shared(
        ("stochastic_k_14", "stochastic_d_14"),
        _all(momentum.StochasticOscillator, "stoch stoch_signal", _BARS, 14, 3),
        lambda f: pta.stoch(f.high, f.low, f.close, 14, 3, 1, talib=False),
    ),
    Shared(
        ("roc_10",),
        lambda f: momentum.ROCIndicator(f.close, 10).roc(),
        lambda f: pta.roc(f.close, 10, talib=False),
    ),
    Shared(
        ("adx_14", "plus_di_14", "minus_di_14"),
        _all(trend.ADXIndicator, "adx adx_pos adx_neg", _BARS, 14),
        lambda f: pta.adx(f.high, f.low, f.close, 14, talib=False),
    ),
    Shared(
        ("cci_20",),
        _all(trend.CCIIndicator, "cci", _BARS, 20),
        lambda f: pta.cci(f.high, f.low, f.close, 20, talib=False),
    ),
    Shared(
        ("aroon_oscillator_25",),
        _all(trend.AroonIndicator, "aroon_indicator", "high low", 25),
        lambda f: pta.aroon(f.high, f.low, 25, talib=False),
    ),
    Shared(
        ("money_flow_14",),
        _all(volume.MFIIndicator, "money_flow_index", f"{_BARS} volume", 14),
        lambda f: pta.mfi(f.high, f.low, f.close, f.volume, 14, talib=False),
    ),
    Shared(
        ("ultimate_oscillator",),
        _all(momentum.UltimateOscillator, "ultimate_oscillator", _BARS),
        lambda f: pta.uo(f.high, f.low, f.close, talib=False),
    ),
    Shared(
        ("trix_15",),
        lambda f: trend.TRIXIndicator(f.close, 15).trix(),
        lambda f: pta.trix(f.close, 15, talib=False),
    ),
    Shared(
        ("chaikin_money_flow_20",),
        _all(volume.ChaikinMoneyFlowIndicator, "chaikin_money_flow", f"{_BARS} volume", 20),
        lambda f: pta.cmf(f.high, f.low, f.close, f.volume, length=20),
    ),
    _bands(20),
    _bands(60),
    *(_ema(n) for n in (20, 60, 100)),
    *(_channel(n) for n in (60, 240, 1440)),
    *(_average_price(n) for n in (60, 240)),
    *(_zscore("volume", n) for n in (60, 1440)),
    _zscore("trades", 60),
    _zscore("spread_bps", 60)._replace(names=("spread_zscore_60m",)),
    Shared(("realised_skewness_240m",), None, lambda f: pta.skew(f.returns, 240)),
    Shared(("realised_kurtosis_240m",), None, lambda f: pta.kurtosis(f.returns, 240)),
    Shared(("slope_60m",), None, lambda f: pta.linreg(f.close, 60, talib=False, slope=True)),
    Shared(("slope_r2_60m",), None, lambda f: pta.linreg(f.close, 60, talib=False, r=True)),
    Shared(("efficiency_ratio_60m",), None, lambda f: pta.er(f.close, 60)),
    Shared(
        ("choppiness_14",), None, lambda f: pta.chop(f.high, f.low, f.close, 14, atr_length=1, talib=False)
    ),
    Shared(("return_volume_correlation_60m",), None, lambda f: pta.correl(f.returns, f.volume, length=60)),
    *_reference(60),
    *_reference(180),
)

LIBRARIES: Final[dict[str, tuple[tuple[tuple[str, ...], Call], ...]]] = {
    "ta": tuple((one.names, one.ta) for one in SHARED if one.ta),
    "pandas_ta": tuple((one.names, one.pandas_ta) for one in SHARED if one.pandas_ta),
}
"""The calls of each, and the columns of ours that they yield."""

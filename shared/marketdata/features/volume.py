"""How much trades, who takes, at what average price, and what it moves."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import State, align, fold, quotient
from marketdata.features.rolling import change, comoments, spread, sums
from marketdata.features.series import above_average_price, log_returns, volume_sums


def _zscore(column: str, minutes: int, since_version: int = 1) -> Feature:
    def compute(columns: Columns) -> Floats:
        values: Floats = getattr(columns, column)
        distance, deviation = spread(values, minutes)
        distance /= deviation
        return distance

    reach = math.sqrt(minutes - 1)
    return Feature(
        name=f"{column}_zscore_{minutes}m",
        group="volume",
        since_version=since_version,
        inputs=(column,),
        window=minutes,
        unit="standard deviations",
        low=-reach,
        high=reach,
        formula=f"({column} - mean) / population standard deviation, over {minutes} min",
        source="standard score, the newest minute included",
        compute=compute,
    )


def _taker_ratio(minutes: int, since_version: int = 1) -> Feature:
    def compute(columns: Columns) -> Floats:
        taken = sums(columns.taker_buy_volume, minutes)
        return quotient(taken, volume_sums(columns, minutes), len(columns))

    return Feature(
        name=f"taker_ratio_{minutes}m",
        group="volume",
        since_version=since_version,
        inputs=("volume", "taker_buy_volume"),
        window=minutes,
        unit="fraction of the volume",
        low=0.0,
        high=1.0,
        formula=f"sum of taker_buy_volume / sum of volume, over {minutes} min",
        source="Binance kline fields V and v",
        compute=compute,
    )


def vwap_distance(minutes: int, group: str, since: int) -> Feature:
    """The close's distance from the volume-weighted average price of a window."""

    def compute(columns: Columns) -> Floats:
        return above_average_price(columns, minutes)

    return Feature(
        name=f"vwap_distance_{minutes}m",
        group=group,
        since_version=since,
        inputs=("close", "volume", "quote_volume"),
        window=minutes,
        unit="fraction of the average",
        low=-1.0,
        high=None,
        formula=f"close / (sum of quote_volume / sum of volume over {minutes} min) - 1",
        source="Berkowitz, Logue and Noser 1988; exact prices, not typical ones",
        compute=compute,
    )


_of_set_2 = partial(Feature, group="volume", since_version=2)


def _merge_ages(newer: State, older: State, n: int, _: int, out: State, scratch: State) -> None:
    """Sums of values, of values times their age and times its square; the newest minute's age is 0."""
    (zero, one, two), (total, aged, squared) = newer, older
    shift = scratch[0]
    np.multiply(total, n, out=shift)
    np.add(zero, total, out=out[0])
    shift += aged
    np.add(one, shift, out=out[1])
    shift += aged  # 2 n aged + n n total is n times this
    shift *= n
    shift += squared
    np.add(two, shift, out=out[2])


def _balance_slope(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        """A slope is a weighted mean of the steps: 6 j (n - j) / (n (n^2 - 1)) for the j-th of n - 1."""
        steps = change(columns.close)
        np.sign(steps, out=steps)
        steps *= columns.volume[..., 1:]
        nothing = np.broadcast_to(0.0, steps.shape)
        zero, one, two = fold((steps, nothing, nothing), minutes - 1, _merge_ages, scratch=1)
        weighted = (minutes - 1) * zero
        weighted += (minutes - 2) * one
        weighted -= two
        weighted *= 6.0 / (minutes**2 - 1)
        return quotient(weighted, volume_sums(columns, minutes), len(columns))

    reach = 6.0 * (minutes // 2) * (minutes - minutes // 2) / (minutes**2 - 1)
    return _of_set_2(
        name=f"obv_slope_{minutes}m",
        inputs=("close", "volume"),
        window=minutes,
        unit="mean volumes per minute",
        low=-reach,
        high=reach,
        formula=f"least-squares slope of on-balance volume over {minutes} min / mean volume",
        source="Granville 1963; TA-Lib LINEARREG_SLOPE of OBV / SMA of volume",
        compute=compute,
    )


def _impact(columns: Columns) -> tuple[Floats, Floats]:
    """|return| / quote_volume of each minute but the first, 0 where nothing traded, and whether it did."""
    quote = columns.quote_volume[..., 1:]
    # Compared so that an unknown volume stays unknown, rather than counting as none.
    traded = (quote != 0.0).astype(np.float64)
    impact = np.abs(log_returns(columns))
    impact /= quote + (1.0 - traded)
    impact *= traded
    return impact, traded


def _amihud_ratio(short: int, long: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        impact, traded = _impact(columns)
        begin = long - short  # before it, no row's short window
        ratio = sums(impact[..., begin:], short) / sums(traded[..., begin:], short)
        ratio /= sums(impact, long) / sums(traded, long)
        return align(ratio, len(columns))

    return _of_set_2(
        name=f"amihud_ratio_{short}m_{long}m",
        inputs=("close", "quote_volume"),
        window=long + 1,
        unit="ratio",
        low=0.0,
        high=float(long - short + 1),  # all of the long mean's impact in the short one's only trading minute
        formula=f"mean of |return_1m| / quote_volume where that is not 0, over {short} min / over {long} min",
        source="Amihud 2002",
        compute=compute,
    )


def _chaikin(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        span = columns.high - columns.low
        leaning = columns.close - columns.low
        leaning -= columns.high - columns.close
        span += span == 0.0  # then leaning is 0, too
        leaning /= span
        leaning *= columns.volume
        return quotient(sums(leaning, minutes), volume_sums(columns, minutes), len(columns))

    return _of_set_2(
        name=f"chaikin_money_flow_{minutes}",
        inputs=("high", "low", "close", "volume"),
        window=minutes,
        unit="fraction of the volume",
        low=-1.0,
        high=1.0,
        formula=f"sum of volume (2 close - high - low) / (high - low) / sum of volume, over {minutes} min",
        source="Chaikin 1982; the steps of TA-Lib AD",
        compute=compute,
    )


def _trade_size_ratio(short: int, long: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        begin = long - short  # before it, no row's short window
        ratio = sums(columns.volume[..., begin:], short) / sums(columns.trades[..., begin:], short)
        ratio /= volume_sums(columns, long) / sums(columns.trades, long)
        return align(ratio, len(columns))

    return _of_set_2(
        name=f"trade_size_ratio_{short}m_{long}m",
        inputs=("volume", "trades"),
        window=long,
        unit="ratio",
        low=0.0,
        high=None,
        formula=f"sum of volume / sum of trades, over {short} min / over {long} min",
        source="Binance kline fields v and n",
        compute=compute,
    )


def _return_volume_correlation(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        returns, volumes, both = comoments(log_returns(columns), columns.volume[..., 1:], minutes)
        scale = np.sqrt(returns)
        scale *= np.sqrt(volumes)
        correlation = quotient(both, scale, len(columns))
        return np.clip(correlation, -1.0, 1.0, out=correlation)

    return _of_set_2(
        name=f"return_volume_correlation_{minutes}m",
        inputs=("close", "volume"),
        window=minutes + 1,
        unit="correlation",
        low=-1.0,
        high=1.0,
        formula=f"correlation of the last {minutes} values of return_1m with the volumes of the same minutes",
        source="Karpoff 1987",
        compute=compute,
    )


FEATURES: Final = (
    _zscore("volume", 60),
    _zscore("trades", 60),
    _taker_ratio(1),
    _taker_ratio(15),
    vwap_distance(60, "volume", since=1),
    _zscore("volume", 1440, since_version=2),
    _taker_ratio(60, since_version=2),
    _balance_slope(60),
    _amihud_ratio(60, 1440),
    _chaikin(20),
    _trade_size_ratio(15, 240),
    _return_volume_correlation(60),
)

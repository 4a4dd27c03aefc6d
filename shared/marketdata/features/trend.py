"""Where the close stands: in its bands, in its channel, from its averages; and how straight its way was."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import quotient
from marketdata.features.rolling import change, sums
from marketdata.features.series import (
    channel_position,
    close_slope,
    close_spread,
    highest_high,
    lowest_low,
    true_range,
)
from marketdata.features.smoothing import distance, ema_alpha, warmup
from marketdata.features.volume import vwap_distance


def _bollinger_position(minutes: int, width: float, since: int = 1) -> Feature:
    def compute(columns: Columns) -> Floats:
        offset, deviation = close_spread(columns, minutes)
        place = offset / deviation
        place /= 2.0 * width
        place += 0.5
        return place

    reach = math.sqrt(minutes - 1) / (2.0 * width)
    return Feature(
        name=f"bollinger_position_{minutes}",
        group="trend",
        since_version=since,
        inputs=("close",),
        window=minutes,
        unit="fraction of the band",
        low=0.5 - reach,
        high=0.5 + reach,
        formula=f"percent b: (close - lower) / (upper - lower), bands SMA {minutes} +- {width:g} deviations",
        source="Bollinger 2001; TA-Lib BBANDS",
        compute=compute,
    )


def _bollinger_width(minutes: int, width: float) -> Feature:
    def compute(columns: Columns) -> Floats:
        offset, deviation = close_spread(columns, minutes)
        breadth = deviation * (2.0 * width)
        breadth /= columns.close - offset
        return breadth

    return Feature(
        name=f"bollinger_width_{minutes}",
        group="trend",
        since_version=1,
        inputs=("close",),
        window=minutes,
        unit="fraction of the average",
        low=0.0,
        high=2.0 * width * math.sqrt(minutes - 1),
        formula=f"(upper - lower) / SMA {minutes}, bands SMA {minutes} +- {width:g} deviations",
        source="Bollinger 2001; TA-Lib BBANDS",
        compute=compute,
    )


def _ema_distance(period: int, since: int = 1) -> Feature:
    alpha = ema_alpha(period)

    def compute(columns: Columns) -> Floats:
        offset = distance(columns.close, alpha)
        return quotient(offset, columns.close[..., warmup(alpha) - 1 :] - offset, len(columns))

    return Feature(
        name=f"ema_distance_{period}",
        group="trend",
        since_version=since,
        inputs=("close",),
        window=warmup(alpha),
        unit="fraction of the average",
        low=-1.0,
        high=1.0 / alpha - 1.0,
        formula=f"close / EMA {period} - 1",
        source="TA-Lib EMA",
        compute=compute,
    )


def _channel_position(minutes: int, since: int = 1) -> Feature:
    return Feature(
        name=f"high_low_position_{minutes}m",
        group="trend",
        since_version=since,
        inputs=("high", "low", "close"),
        window=minutes,
        unit="fraction of the channel",
        low=0.0,
        high=1.0,
        formula=f"(close - lowest low) / (highest high - lowest low) of {minutes} min",
        source="Donchian channel; TA-Lib MAX, MIN",
        compute=lambda columns: channel_position(columns, minutes),
    )


def _slope(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        return close_slope(columns, minutes) / columns.close

    return Feature(
        name=f"slope_{minutes}m",
        group="trend",
        since_version=2,
        inputs=("close",),
        window=minutes,
        unit="fraction of the close per minute",
        low=None,
        high=None,
        formula=f"least-squares slope of the close over {minutes} min / close",
        source="Draper and Smith 1998; TA-Lib LINEARREG_SLOPE",
        compute=compute,
    )


def _slope_r2(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        tilt = close_slope(columns, minutes) / close_spread(columns, minutes).deviation
        tilt *= tilt
        tilt *= (minutes * minutes - 1.0) / 12.0
        return np.minimum(tilt, 1.0, out=tilt)

    return Feature(
        name=f"slope_r2_{minutes}m",
        group="trend",
        since_version=2,
        inputs=("close",),
        window=minutes,
        unit="fraction of the variance",
        low=0.0,
        high=1.0,
        formula=f"R squared of the least-squares line through the close over {minutes} min",
        source="Draper and Smith 1998; the square of TA-Lib CORREL of close and time",
        compute=compute,
    )


def _efficiency_ratio(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        close, n = columns.close, len(columns)
        steps = change(close)
        way = sums(np.abs(steps, out=steps), minutes)
        gained = close[..., minutes:] - close[..., : max(0, n - minutes)]
        ratio = quotient(np.abs(gained, out=gained), way, n)
        return np.minimum(ratio, 1.0, out=ratio)

    return Feature(
        name=f"efficiency_ratio_{minutes}m",
        group="trend",
        since_version=2,
        inputs=("close",),
        window=minutes + 1,
        unit="fraction of the way",
        low=0.0,
        high=1.0,
        formula=f"|close - close {minutes} min ago| / sum of its {minutes} absolute one-minute changes",
        source="Kaufman 1995",
        compute=compute,
    )


def _choppiness(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        span = highest_high(columns, minutes) - lowest_low(columns, minutes)
        # Prices that stand still behind a gap have a way and no span: undefined, and not 1.
        span[span <= 0.0] = np.nan
        index = quotient(sums(true_range(columns), minutes), span, len(columns))
        np.log(index, out=index)
        index /= math.log(minutes)
        return np.clip(index, 0.0, 1.0, out=index)

    return Feature(
        name=f"choppiness_{minutes}",
        group="trend",
        since_version=2,
        inputs=("high", "low", "close"),
        window=minutes + 1,
        unit="fraction",
        low=0.0,
        high=1.0,
        formula=f"ln(sum of the true range / (highest high - lowest low)) / ln {minutes}, of {minutes} min; "
        "at most 1, which a gap at the window's edge could exceed",
        source="Dreiss 1993; the choppiness index / 100",
        compute=compute,
    )


FEATURES: Final = (
    _bollinger_position(20, 2.0),
    _bollinger_width(20, 2.0),
    _ema_distance(20),
    _ema_distance(60),
    _channel_position(60),
    _ema_distance(100, since=2),
    vwap_distance(240, "trend", since=2),
    _bollinger_position(60, 2.0, since=2),
    _slope(60),
    _slope_r2(60),
    _channel_position(240, since=2),
    _channel_position(1_440, since=2),
    _efficiency_ratio(60),
    _choppiness(14),
)

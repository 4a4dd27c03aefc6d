"""Where the close stands: in its bands, in its channel, from its averages."""

from __future__ import annotations

import math
from typing import Final

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.rolling import highest, lowest
from marketdata.features.series import close_spread
from marketdata.features.smoothing import distance, ema_alpha, warmup


def _bollinger_position(minutes: int, width: float) -> Feature:
    def compute(columns: Columns) -> Floats:
        offset, deviation = close_spread(columns, minutes)
        return 0.5 + offset / (2.0 * width * deviation)

    reach = math.sqrt(minutes - 1) / (2.0 * width)
    return Feature(
        name=f"bollinger_position_{minutes}",
        group="trend",
        since_version=1,
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
        return 2.0 * width * deviation / (columns.close - offset)

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


def _ema_distance(period: int) -> Feature:
    alpha = ema_alpha(period)

    def compute(columns: Columns) -> Floats:
        offset = distance(columns.close, alpha)
        return offset / (columns.close - offset)

    return Feature(
        name=f"ema_distance_{period}",
        group="trend",
        since_version=1,
        inputs=("close",),
        window=warmup(alpha),
        unit="fraction of the average",
        low=-1.0,
        high=1.0 / alpha - 1.0,
        formula=f"close / EMA {period} - 1",
        source="TA-Lib EMA",
        compute=compute,
    )


def _channel_position(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        top = highest(columns.high, minutes)
        bottom = lowest(columns.low, minutes)
        return (columns.close - bottom) / (top - bottom)

    return Feature(
        name=f"high_low_position_{minutes}m",
        group="trend",
        since_version=1,
        inputs=("high", "low", "close"),
        window=minutes,
        unit="fraction of the channel",
        low=0.0,
        high=1.0,
        formula=f"(close - lowest low) / (highest high - lowest low) of {minutes} min",
        source="Donchian channel; TA-Lib MAX, MIN",
        compute=compute,
    )


FEATURES: Final = (
    _bollinger_position(20, 2.0),
    _bollinger_width(20, 2.0),
    _ema_distance(20),
    _ema_distance(60),
    _channel_position(60),
)

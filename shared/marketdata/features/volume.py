"""How much trades, who takes, and at what average price."""

from __future__ import annotations

import math
from typing import Final

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.rolling import rolling_sum, spread


def _zscore(column: str, minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        values: Floats = getattr(columns, column)
        distance, deviation = spread(values, minutes)
        return distance / deviation

    reach = math.sqrt(minutes - 1)
    return Feature(
        name=f"{column}_zscore_{minutes}m",
        group="volume",
        since_version=1,
        inputs=(column,),
        window=minutes,
        unit="standard deviations",
        low=-reach,
        high=reach,
        formula=f"({column} - mean) / population standard deviation, over {minutes} min",
        source="standard score, the newest minute included",
        compute=compute,
    )


def _taker_ratio(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        return rolling_sum(columns.taker_buy_volume, minutes) / rolling_sum(columns.volume, minutes)

    return Feature(
        name=f"taker_ratio_{minutes}m",
        group="volume",
        since_version=1,
        inputs=("volume", "taker_buy_volume"),
        window=minutes,
        unit="fraction of the volume",
        low=0.0,
        high=1.0,
        formula=f"sum of taker_buy_volume / sum of volume, over {minutes} min",
        source="Binance kline fields V and v",
        compute=compute,
    )


def _vwap_distance(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        average = rolling_sum(columns.quote_volume, minutes) / rolling_sum(columns.volume, minutes)
        return columns.close / average - 1.0

    return Feature(
        name=f"vwap_distance_{minutes}m",
        group="volume",
        since_version=1,
        inputs=("close", "volume", "quote_volume"),
        window=minutes,
        unit="fraction of the average",
        low=-1.0,
        high=None,
        formula=f"close / (sum of quote_volume / sum of volume over {minutes} min) - 1",
        source="Berkowitz, Logue and Noser 1988; exact prices, not typical ones",
        compute=compute,
    )


FEATURES: Final = (
    _zscore("volume", 60),
    _zscore("trades", 60),
    _taker_ratio(1),
    _taker_ratio(15),
    _vwap_distance(60),
)

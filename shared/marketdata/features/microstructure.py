"""The best bid and ask, and the spread that highs and lows give away."""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import align
from marketdata.features.rolling import spread, sums
from marketdata.features.series import squared_range


def _spread(columns: Columns) -> Floats:
    return columns.spread_bps


def _imbalance(columns: Columns) -> Floats:
    return columns.imbalance


_of_set_2 = partial(Feature, group="microstructure", since_version=2)


def _spread_zscore(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        distance, deviation = spread(columns.spread_bps, minutes)
        distance /= deviation
        return distance

    reach = math.sqrt(minutes - 1)
    return _of_set_2(
        name=f"spread_zscore_{minutes}m",
        inputs=("spread_bps",),
        window=minutes,
        unit="standard deviations",
        low=-reach,
        high=reach,
        formula=f"(spread_bps - mean) / population standard deviation, over {minutes} min with a book each",
        source="standard score, the newest minute included",
        compute=compute,
    )


def _mean_imbalance(minutes: int) -> Feature:
    return _of_set_2(
        name=f"book_imbalance_{minutes}m",
        inputs=("imbalance",),
        window=minutes,
        unit="fraction",
        low=-1.0,
        high=1.0,
        formula=f"mean of book_imbalance over {minutes} min with a book each",
        source="book_ticker_1m; Cartea, Jaimungal and Penalva 2015",
        compute=lambda columns: align(sums(columns.imbalance, minutes) / minutes, len(columns)),
    )


_K: Final = 3.0 - 2.0 * math.sqrt(2.0)


def _corwin_schultz(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        high, low = columns.high, columns.low
        single = squared_range(columns)
        alpha = single[..., 1:] + single[..., :-1]
        np.sqrt(alpha, out=alpha)
        alpha *= (math.sqrt(2.0) - 1.0) / _K
        both = np.maximum(high[..., 1:], high[..., :-1])
        both /= np.minimum(low[..., 1:], low[..., :-1])
        np.log(both, out=both)
        both /= math.sqrt(_K)
        alpha -= both
        # 2 (e^a - 1) / (1 + e^a) is 2 tanh(a / 2); of what is below zero, 0
        alpha += np.abs(alpha)
        alpha /= 4.0
        np.tanh(alpha, out=alpha)
        return align(sums(alpha, minutes) * (2.0 / minutes), len(columns))

    return _of_set_2(
        name=f"corwin_schultz_{minutes}m",
        inputs=("high", "low"),
        window=minutes + 1,
        unit="fraction of the price",
        low=0.0,
        high=2.0,
        formula=f"mean of {minutes} two-minute estimates of the spread by highs and lows, negative ones as 0",
        source="Corwin and Schultz 2012, equations 14 and 18, without the overnight adjustment",
        compute=compute,
    )


FEATURES: Final = (
    Feature(
        name="spread_bps",
        group="microstructure",
        since_version=1,
        inputs=("spread_bps",),
        window=1,
        unit="basis points",
        low=0.0,
        high=None,
        formula="mean of 10,000 (ask - bid) / mid over once-a-second samples of the minute",
        source="book_ticker_1m",
        compute=_spread,
    ),
    Feature(
        name="book_imbalance",
        group="microstructure",
        since_version=1,
        inputs=("imbalance",),
        window=1,
        unit="fraction",
        low=-1.0,
        high=1.0,
        formula="mean of (bid size - ask size) / (bid size + ask size) over once-a-second samples",
        source="book_ticker_1m; Cartea, Jaimungal and Penalva 2015",
        compute=_imbalance,
    ),
    _spread_zscore(60),
    _mean_imbalance(15),
    _corwin_schultz(60),
)

"""How much prices move: realised, by range, and by true range."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import align
from marketdata.features.rolling import rolling_sum, spread
from marketdata.features.series import log_returns, true_range
from marketdata.features.smoothing import average, warmup, wilder_alpha


def _realised(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        return align(spread(log_returns(columns), minutes).deviation, len(columns))

    return Feature(
        name=f"volatility_{minutes}m",
        group="volatility",
        since_version=1,
        inputs=("close",),
        window=minutes + 1,
        unit="log return per minute",
        low=0.0,
        high=None,
        formula=f"population standard deviation of the last {minutes} values of return_1m",
        source="Andersen and Bollerslev 1998",
        compute=compute,
    )


def _parkinson(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        squares = np.log(columns.high / columns.low) ** 2
        return np.sqrt(rolling_sum(squares, minutes) / (4.0 * math.log(2.0) * minutes))

    return Feature(
        name=f"parkinson_{minutes}m",
        group="volatility",
        since_version=1,
        inputs=("high", "low"),
        window=minutes,
        unit="log return per minute",
        low=0.0,
        high=None,
        formula=f"sqrt(mean of ln(high / low)^2 over {minutes} min / (4 ln 2))",
        source="Parkinson 1980",
        compute=compute,
    )


def _average_true_range(period: int) -> Feature:
    alpha = wilder_alpha(period)

    def compute(columns: Columns) -> Floats:
        return align(average(true_range(columns), alpha), len(columns)) / columns.close

    return Feature(
        name=f"atr_{period}",
        group="volatility",
        since_version=1,
        inputs=("high", "low", "close"),
        window=warmup(alpha) + 1,
        unit="fraction of the close",
        low=0.0,
        high=None,
        formula=f"Wilder average ({period}) of the true range / close",
        source="Wilder 1978; TA-Lib NATR / 100",
        compute=compute,
    )


FEATURES: Final = (_realised(15), _realised(60), _parkinson(60), _average_true_range(14))

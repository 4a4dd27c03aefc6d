"""How much prices move: realised, by range, by true range; and how unevenly."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import align, quotient
from marketdata.features.rolling import rolling_sum, spread, sums
from marketdata.features.series import (
    candle_logs,
    fading_range,
    log_returns,
    overnight_logs,
    return_powers,
    rogers_satchell,
    squared_range,
)
from marketdata.features.smoothing import warmup, wilder_alpha


def _realised(minutes: int, since: int = 1) -> Feature:
    def compute(columns: Columns) -> Floats:
        return align(spread(log_returns(columns), minutes).deviation, len(columns))

    return Feature(
        name=f"volatility_{minutes}m",
        group="volatility",
        since_version=since,
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
        squares = rolling_sum(squared_range(columns), minutes)
        squares /= 4.0 * math.log(2.0) * minutes
        return np.sqrt(squares, out=squares)

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
    ratio, minutes = 1.0 - alpha, warmup(alpha)

    def compute(columns: Columns) -> Floats:
        ranges = fading_range(columns, ratio, minutes) * (alpha / (1.0 - ratio**minutes))
        return quotient(ranges, columns.close, len(columns))

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


def _garman_klass(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        body, up, down = candle_logs(columns)
        squares = up - down
        squares *= squares
        squares *= 0.5
        straight = body * body
        straight *= 2.0 * math.log(2.0) - 1.0
        squares -= straight
        mean = rolling_sum(squares, minutes)
        mean /= minutes
        return np.sqrt(mean, out=mean)

    return Feature(
        name=f"garman_klass_{minutes}m",
        group="volatility",
        since_version=2,
        inputs=("open", "high", "low", "close"),
        window=minutes,
        unit="log return per minute",
        low=0.0,
        high=None,
        formula=f"sqrt(mean of ln(high / low)^2 / 2 - (2 ln 2 - 1) ln(close / open)^2 over {minutes} min)",
        source="Garman and Klass 1980",
        compute=compute,
    )


def _rogers_satchell(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        mean = rolling_sum(rogers_satchell(columns), minutes)
        mean /= minutes
        return np.sqrt(mean, out=mean)

    return Feature(
        name=f"rogers_satchell_{minutes}m",
        group="volatility",
        since_version=2,
        inputs=("open", "high", "low", "close"),
        window=minutes,
        unit="log return per minute",
        low=0.0,
        high=None,
        formula="sqrt(mean of ln(high / close) ln(high / open) + ln(low / close) ln(low / open) "
        f"over {minutes} min)",
        source="Rogers and Satchell 1991",
        compute=compute,
    )


def _yang_zhang(minutes: int) -> Feature:
    k = 0.34 / (1.34 + (minutes + 1) / (minutes - 1))

    def variance(values: Floats) -> Floats:
        squares = spread(values, minutes).deviation[..., minutes - 1 :]
        squares *= squares
        squares *= minutes / (minutes - 1)
        return squares

    def compute(columns: Columns) -> Floats:
        total = variance(overnight_logs(columns))
        daily = variance(candle_logs(columns).body[..., 1:])
        daily *= k
        total += daily
        within = sums(rogers_satchell(columns)[..., 1:], minutes)
        total += within * ((1.0 - k) / minutes)
        return align(np.sqrt(total, out=total), len(columns))

    return Feature(
        name=f"yang_zhang_{minutes}m",
        group="volatility",
        since_version=2,
        inputs=("open", "high", "low", "close"),
        window=minutes + 1,
        unit="log return per minute",
        low=0.0,
        high=None,
        formula="sqrt(variance of ln(open / close before) + k variance of ln(close / open) "
        f"+ (1 - k) rogers_satchell^2) over {minutes} min, sample variances, k = {k:.4f}",
        source="Yang and Zhang 2000; each minute a day of theirs",
        compute=compute,
    )


def _realised_skewness(minutes: int) -> Feature:
    reach = math.sqrt(minutes)

    def compute(columns: Columns) -> Floats:
        second, third, _ = return_powers(columns, minutes)
        return align(np.clip(reach * third / (second * np.sqrt(second)), -reach, reach), len(columns))

    return Feature(
        name=f"realised_skewness_{minutes}m",
        group="volatility",
        since_version=2,
        inputs=("close",),
        window=minutes + 1,
        unit="skewness",
        low=-reach,
        high=reach,
        formula=f"sqrt({minutes}) sum of r^3 / (sum of r^2)^1.5, r the last {minutes} values of return_1m",
        source="Amaya, Christoffersen, Jacobs and Vasquez 2015",
        compute=compute,
    )


def _realised_kurtosis(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        second, _, fourth = return_powers(columns, minutes)
        return align(np.clip(minutes * fourth / (second * second), 1.0, minutes), len(columns))

    return Feature(
        name=f"realised_kurtosis_{minutes}m",
        group="volatility",
        since_version=2,
        inputs=("close",),
        window=minutes + 1,
        unit="kurtosis",
        low=1.0,
        high=float(minutes),
        formula=f"{minutes} sum of r^4 / (sum of r^2)^2, r the last {minutes} values of return_1m",
        source="Amaya, Christoffersen, Jacobs and Vasquez 2015",
        compute=compute,
    )


FEATURES: Final = (
    _realised(15),
    _realised(60),
    _parkinson(60),
    _average_true_range(14),
    _realised(240, since=2),
    _realised(1_440, since=2),
    _garman_klass(60),
    _rogers_satchell(60),
    _yang_zhang(60),
    _yang_zhang(240),
    _realised_skewness(240),
    _realised_kurtosis(240),
)

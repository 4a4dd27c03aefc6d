"""RSI and MACD."""

from __future__ import annotations

from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.rolling import align, change, weighted_sum
from marketdata.features.smoothing import average_weights, distance_weights, ema_alpha, wilder_alpha


def _relative_strength(period: int) -> Feature:
    weights = average_weights(wilder_alpha(period))

    def compute(columns: Columns) -> Floats:
        changes = change(columns.close)[1:]
        gain = weighted_sum(np.maximum(changes, 0.0), weights)
        loss = weighted_sum(np.maximum(-changes, 0.0), weights)
        return align(gain / (gain + loss), len(columns))

    return Feature(
        name=f"rsi_{period}",
        group="momentum",
        since_version=1,
        inputs=("close",),
        window=len(weights) + 1,
        unit="fraction",
        low=0.0,
        high=1.0,
        formula=f"g / (g + l), the Wilder averages ({period}) of gains and losses of the close",
        source="Wilder 1978; TA-Lib RSI / 100",
        compute=compute,
    )


def _macd(name: str, weights: Floats, formula: str, source: str) -> Feature:
    def compute(columns: Columns) -> Floats:
        distance = weighted_sum(change(columns.close)[1:], weights)
        return align(distance, len(columns)) / columns.close

    return Feature(
        name=name,
        group="momentum",
        since_version=1,
        inputs=("close",),
        window=len(weights) + 1,
        unit="fraction of the close",
        low=None,
        high=None,
        formula=formula,
        source=source,
        compute=compute,
    )


def _macd_weights(fast: int, slow: int, signal: int) -> tuple[Floats, Floats, Floats]:
    """The weights of line, signal and histogram on one-minute changes of the close."""
    line = distance_weights(ema_alpha(slow))
    quick = distance_weights(ema_alpha(fast))
    line[: len(quick)] -= quick
    smoothed = np.convolve(line, average_weights(ema_alpha(signal)))
    histogram = -smoothed
    histogram[: len(line)] += line
    return line, smoothed, histogram


_LINE, _SIGNAL, _HISTOGRAM = _macd_weights(12, 26, 9)

FEATURES: Final = (
    _relative_strength(14),
    _macd("macd", _LINE, "(EMA 12 - EMA 26 of the close) / close", "Appel 1979; TA-Lib MACD"),
    _macd("macd_signal", _SIGNAL, "EMA 9 of (EMA 12 - EMA 26) / close", "Appel 1979; TA-Lib MACD"),
    _macd("macd_histogram", _HISTOGRAM, "(MACD line - its EMA 9) / close", "Aspray 1986; TA-Lib MACD"),
)

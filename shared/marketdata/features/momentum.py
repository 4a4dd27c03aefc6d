"""RSI and MACD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import align
from marketdata.features.rolling import change
from marketdata.features.smoothing import average, distance, ema_alpha, warmup, wilder_alpha


def _relative_strength(period: int) -> Feature:
    alpha = wilder_alpha(period)

    def compute(columns: Columns) -> Floats:
        changes = change(columns.close)
        gain = average(np.maximum(changes, 0.0), alpha)
        loss = average(np.maximum(-changes, 0.0), alpha)
        return align(gain / (gain + loss), len(columns))

    return Feature(
        name=f"rsi_{period}",
        group="momentum",
        since_version=1,
        inputs=("close",),
        window=warmup(alpha) + 1,
        unit="fraction",
        low=0.0,
        high=1.0,
        formula=f"g / (g + l), the Wilder averages ({period}) of gains and losses of the close",
        source="Wilder 1978; TA-Lib RSI / 100",
        compute=compute,
    )


_APPEL: Final = "Appel 1979; TA-Lib MACD"
_FAST, _SLOW, _SIGNAL = (ema_alpha(period) for period in (12, 26, 9))


def _macd_line(columns: Columns) -> Floats:
    """EMA 12 less EMA 26 of the close, from the first minute on that has both."""

    def line(minutes: Columns) -> Floats:
        return (distance(minutes.close, _SLOW) - distance(minutes.close, _FAST))[..., warmup(_SLOW) - 1 :]

    return columns.derived("macd_line", line)


def _macd_signal(columns: Columns) -> Floats:
    return columns.derived("macd_signal", lambda minutes: average(_macd_line(minutes), _SIGNAL))


def _macd(
    name: str,
    part: Callable[[Columns], Floats],
    window: int,
    formula: str,
    source: str = _APPEL,
) -> Feature:
    def compute(columns: Columns) -> Floats:
        return align(part(columns), len(columns)) / columns.close

    return Feature(
        name=name,
        group="momentum",
        since_version=1,
        inputs=("close",),
        window=window,
        unit="fraction of the close",
        low=None,
        high=None,
        formula=formula,
        source=source,
        compute=compute,
    )


_LINE_WINDOW = warmup(_SLOW)
_SIGNAL_WINDOW = _LINE_WINDOW + warmup(_SIGNAL) - 1

FEATURES: Final = (
    _relative_strength(14),
    _macd("macd", _macd_line, _LINE_WINDOW, "(EMA 12 - EMA 26 of the close) / close"),
    _macd("macd_signal", _macd_signal, _SIGNAL_WINDOW, "EMA 9 of (EMA 12 - EMA 26) / close"),
    _macd(
        "macd_histogram",
        lambda columns: _macd_line(columns) - _macd_signal(columns),
        _SIGNAL_WINDOW,
        "(MACD line - its EMA 9) / close",
        "Aspray 1986; TA-Lib MACD",
    ),
)

"""What several features are made of, computed once for the same minutes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import talib

from marketdata.features.columns import Columns, Floats
from marketdata.features.rolling import Spread, by_symbol, log_change, power_sums, rolling_sum, slope, spread


def log_returns(columns: Columns) -> Floats:
    """return_1m but for the first minute, which has none."""
    return columns.derived("log_returns", lambda minutes: log_change(minutes.close)[..., 1:])


def true_range(columns: Columns) -> Floats:
    """Wilder's true range but for the first minute, which has none."""
    return columns.derived(
        "true_range",
        lambda minutes: by_symbol(talib.TRANGE, minutes.high, minutes.low, minutes.close)[..., 1:],
    )


def reference_returns(columns: Columns) -> Floats:
    """The reference's return_1m but for the first minute, which has none; NaN where it is not known."""
    return columns.derived("reference_returns", lambda minutes: log_change(minutes.reference_close)[..., 1:])


def close_spread(columns: Columns, minutes: int) -> Spread:
    """Distance and deviation of the close over a window."""
    return columns.derived(f"close_spread_{minutes}", lambda part: spread(part.close, minutes))


class CandleLogs(NamedTuple):
    """Natural logarithms of each candle's close, high and low, each over its open."""

    body: Floats
    up: Floats
    down: Floats


def candle_logs(columns: Columns) -> CandleLogs:
    """What the estimators of volatility from whole candles are made of."""

    def compute(minutes: Columns) -> CandleLogs:
        opened = minutes.open
        return CandleLogs(*(np.log(price / opened) for price in (minutes.close, minutes.high, minutes.low)))

    return columns.derived("candle_logs", compute)


def rogers_satchell(columns: Columns) -> Floats:
    """Each candle's variance free of drift; zero for one that went straight (Rogers and Satchell 1991)."""

    def compute(minutes: Columns) -> Floats:
        body, up, down = candle_logs(minutes)
        return (up - body) * up + (down - body) * down

    return columns.derived("rogers_satchell", compute)


def return_powers(columns: Columns, minutes: int) -> tuple[Floats, Floats, Floats]:
    """The sums of the squares, cubes and fourth powers of return_1m over a window, as ``log_returns``."""
    return columns.derived(f"return_powers_{minutes}", lambda part: power_sums(log_returns(part), minutes))


def close_slope(columns: Columns, minutes: int) -> Floats:
    """The slope per minute of the least-squares line through the close of a window."""
    return columns.derived(f"close_slope_{minutes}", lambda part: slope(part.close, minutes))


def average_price(columns: Columns, minutes: int) -> Floats:
    """The volume-weighted average price of a window; NaN without volume."""
    return columns.derived(
        f"average_price_{minutes}",
        lambda part: rolling_sum(part.quote_volume, minutes) / rolling_sum(part.volume, minutes),
    )

"""What several features are made of, computed once for the same minutes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import talib

from marketdata.features.columns import Columns, Floats
from marketdata.features.fold import quotient
from marketdata.features.rolling import (
    Spread,
    by_symbol,
    highest,
    log_change,
    lowest,
    power_sums,
    slope,
    spread,
    sums,
)
from marketdata.features.smoothing import decayed_sum


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
        parts = [price / minutes.open for price in (minutes.close, minutes.high, minutes.low)]
        for part in parts:
            np.log(part, out=part)
        return CandleLogs(*parts)

    return columns.derived("candle_logs", compute)


def overnight_logs(columns: Columns) -> Floats:
    """The natural logarithm of each open over the close before, but for the first minute, which has none."""

    def compute(minutes: Columns) -> Floats:
        jump = minutes.open[..., 1:] / minutes.close[..., :-1]
        return np.asarray(np.log(jump, out=jump), dtype=np.float64)

    return columns.derived("overnight_logs", compute)


def rogers_satchell(columns: Columns) -> Floats:
    """Each candle's variance free of drift; zero for one that went straight (Rogers and Satchell 1991)."""

    def compute(minutes: Columns) -> Floats:
        body, up, down = candle_logs(minutes)
        variance = up - body
        variance *= up
        below = down - body
        below *= down
        variance += below
        return variance

    return columns.derived("rogers_satchell", compute)


def return_powers(columns: Columns, minutes: int) -> tuple[Floats, Floats, Floats]:
    """The sums of the squares, cubes and fourth powers of return_1m over a window, as by ``power_sums``."""
    return columns.derived(f"return_powers_{minutes}", lambda part: power_sums(log_returns(part), minutes))


def close_slope(columns: Columns, minutes: int) -> Floats:
    """The slope per minute of the least-squares line through the close of a window."""
    return columns.derived(f"close_slope_{minutes}", lambda part: slope(part.close, minutes))


def above_average_price(columns: Columns, minutes: int) -> Floats:
    """The close over the volume-weighted average price of a window, less 1; NaN without volume."""
    average = sums(columns.quote_volume, minutes) / volume_sums(columns, minutes)
    above = quotient(columns.close[..., minutes - 1 :], average, len(columns))
    above -= 1.0
    return above


def volume_sums(columns: Columns, minutes: int) -> Floats:
    """The volume of a window, from the first minute on that has one."""
    return columns.derived(f"volume_sums_{minutes}", lambda part: sums(part.volume, minutes))


def highest_high(columns: Columns, minutes: int) -> Floats:
    """The highest high of a window."""
    return columns.derived(f"highest_high_{minutes}", lambda part: highest(part.high, minutes))


def lowest_low(columns: Columns, minutes: int) -> Floats:
    """The lowest low of a window."""
    return columns.derived(f"lowest_low_{minutes}", lambda part: lowest(part.low, minutes))


def channel_position(columns: Columns, minutes: int) -> Floats:
    """The close's place between the lowest low and the highest high of its window."""

    def compute(part: Columns) -> Floats:
        bottom = lowest_low(part, minutes)
        place = part.close - bottom
        place /= highest_high(part, minutes) - bottom
        return place

    return columns.derived(f"channel_position_{minutes}", compute)


def fading_range(columns: Columns, ratio: float, minutes: int) -> Floats:
    """The sum of ``ratio ** k`` times the true range of k minutes ago, from the first minute that has it."""
    return columns.derived(
        f"fading_range_{ratio}_{minutes}", lambda part: decayed_sum(true_range(part), ratio, minutes)
    )


def squared_range(columns: Columns) -> Floats:
    """ln(high / low)^2 of each candle."""

    def compute(part: Columns) -> Floats:
        reach = part.high / part.low
        np.log(reach, out=reach)
        reach *= reach
        return reach

    return columns.derived("squared_range", compute)

"""Oscillators: how far and how steadily the price has moved of late."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import talib

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.features.fold import align, quotient
from marketdata.features.rolling import by_symbol, change, mean_offset, rises_and_falls, sums
from marketdata.features.series import channel_position, fading_range, true_range
from marketdata.features.smoothing import average, decayed_sum, distance, ema_alpha, warmup, wilder_alpha


def _relative_strength(period: int) -> Feature:
    alpha = wilder_alpha(period)

    def compute(columns: Columns) -> Floats:
        gain, loss = (
            decayed_sum(part, 1.0 - alpha, warmup(alpha)) for part in rises_and_falls(change(columns.close))
        )
        loss += gain
        return quotient(gain, loss, len(columns))

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
        slow = distance(minutes.close, _SLOW)
        slow -= distance(minutes.close[..., warmup(_SLOW) - warmup(_FAST) :], _FAST)
        return slow

    return columns.derived("macd_line", line)


def _macd_signal(columns: Columns) -> Floats:
    return columns.derived("macd_signal", lambda minutes: average(_macd_line(minutes), _SIGNAL))


def _macd_histogram(columns: Columns) -> Floats:
    return _macd_line(columns)[..., warmup(_SIGNAL) - 1 :] - _macd_signal(columns)


def _macd(
    name: str,
    part: Callable[[Columns], Floats],
    window: int,
    formula: str,
    source: str = _APPEL,
) -> Feature:
    def compute(columns: Columns) -> Floats:
        return quotient(part(columns), columns.close, len(columns))

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

_of_set_2 = partial(Feature, group="momentum", since_version=2)


def _stochastic_k(minutes: int) -> Feature:
    return _of_set_2(
        name=f"stochastic_k_{minutes}",
        inputs=("high", "low", "close"),
        window=minutes,
        unit="fraction of the range",
        low=0.0,
        high=1.0,
        formula=f"(close - lowest low) / (highest high - lowest low) of {minutes} min",
        source="Lane 1984; TA-Lib STOCHF %K / 100",
        compute=lambda columns: channel_position(columns, minutes),
    )


def _stochastic_d(minutes: int, smoothing: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        places = channel_position(columns, minutes)[..., minutes - 1 :]
        return align(sums(places, smoothing) / smoothing, len(columns))

    return _of_set_2(
        name=f"stochastic_d_{minutes}",
        inputs=("high", "low", "close"),
        window=minutes + smoothing - 1,
        unit="fraction of the range",
        low=0.0,
        high=1.0,
        formula=f"mean of stochastic_k_{minutes} over {smoothing} min",
        source="Lane 1984; TA-Lib STOCHF %D / 100",
        compute=compute,
    )


def _rate_of_change(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        before = columns.close[..., : max(0, len(columns) - minutes)]
        return quotient(columns.close[..., minutes:] - before, before, len(columns))

    return _of_set_2(
        name=f"roc_{minutes}",
        inputs=("close",),
        window=minutes + 1,
        unit="fraction",
        low=-1.0,
        high=None,
        formula=f"close / close {minutes} min ago - 1",
        source="TA-Lib ROCP",
        compute=compute,
    )


_DIRECTION: Final = 14
_DIRECTION_ALPHA = wilder_alpha(_DIRECTION)
_DIRECTION_RATIO, _DIRECTION_MINUTES = 1.0 - _DIRECTION_ALPHA, warmup(_DIRECTION_ALPHA)
_DIRECTION_WINDOW = _DIRECTION_MINUTES + 1


def _directions(columns: Columns) -> tuple[Floats, Floats]:
    """Twice the fading sums of the moves beyond the last high and low, from the first minute that has them.

    Of a minute that goes beyond both, only the greater counts; neither where they are equal. Moves of equal
    ticks may differ by a rounding of the prices: they are compared as they are, as all suites do.
    """

    def fading(part: Columns) -> tuple[Floats, Floats]:
        up, down = change(part.high), part.low[..., :-1] - part.low[..., 1:]
        plus, _ = rises_and_falls(up)
        minus, _ = rises_and_falls(down)
        plus *= up > down
        minus *= down > up
        return (
            decayed_sum(plus, _DIRECTION_RATIO, _DIRECTION_MINUTES),
            decayed_sum(minus, _DIRECTION_RATIO, _DIRECTION_MINUTES),
        )

    return columns.derived("directions", fading)


def _directional_indicator(side: int, name: str, move: str) -> Feature:
    def compute(columns: Columns) -> Floats:
        ranges = fading_range(columns, _DIRECTION_RATIO, _DIRECTION_MINUTES)
        return quotient(0.5 * _directions(columns)[side], ranges, len(columns))

    return _of_set_2(
        name=f"{name}_di_{_DIRECTION}",
        inputs=("high", "low", "close"),
        window=_DIRECTION_WINDOW,
        unit="fraction of the true range",
        low=0.0,
        high=1.0,
        formula=f"Wilder averages ({_DIRECTION}): {move}, where that is the greater move / true range",
        source=f"Wilder 1978; TA-Lib {name.upper()}_DI / 100",
        compute=compute,
    )


def _directional_index() -> Feature:
    def compute(columns: Columns) -> Floats:
        plus, minus = _directions(columns)
        index = plus - minus
        np.abs(index, out=index)
        index /= plus + minus
        return align(average(index, _DIRECTION_ALPHA), len(columns))

    return _of_set_2(
        name=f"adx_{_DIRECTION}",
        inputs=("high", "low"),
        window=_DIRECTION_WINDOW + warmup(_DIRECTION_ALPHA) - 1,
        unit="fraction",
        low=0.0,
        high=1.0,
        formula=f"Wilder average ({_DIRECTION}) of |p - m| / (p + m), p and m being plus_di and minus_di",
        source="Wilder 1978; TA-Lib ADX / 100",
        compute=compute,
    )


def _typical_price(columns: Columns) -> Floats:
    return columns.derived("typical_price", lambda part: (part.high + part.low + part.close) / 3.0)


def _commodity_channel(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        prices, n = _typical_price(columns), len(columns)
        newest, mean = prices[..., minutes - 1 :], mean_offset(prices, minutes)
        deviation = np.abs(mean)  # that of the newest, whose offset is 0
        offset = np.empty_like(mean)
        for k in range(1, minutes):
            np.subtract(prices[..., minutes - 1 - k : max(0, n - k)], newest, out=offset)
            offset -= mean
            np.abs(offset, out=offset)
            deviation += offset
        deviation *= -1.5 / minutes
        return quotient(mean, deviation, n)

    reach = minutes / 2.0 / 1.5
    return _of_set_2(
        name=f"cci_{minutes}",
        inputs=("high", "low", "close"),
        window=minutes,
        unit="CCI / 100",
        low=-reach,
        high=reach,
        formula=f"(t - mean t) / (1.5 mean |t - mean t|) over {minutes} min, t = (high + low + close) / 3",
        source="Lambert 1980; TA-Lib CCI / 100",
        compute=compute,
    )


def _aroon_oscillator(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        oscillator = by_symbol(
            lambda high, low: talib.AROONOSC(high, low, timeperiod=minutes), columns.high, columns.low
        )
        oscillator /= 100.0
        return oscillator

    return _of_set_2(
        name=f"aroon_oscillator_{minutes}",
        inputs=("high", "low"),
        window=minutes + 1,
        unit="fraction of the window",
        low=-1.0,
        high=1.0,
        formula=f"(minutes since lowest low - since highest high) / {minutes}, of equal ones the newest",
        source="Chande 1995; TA-Lib AROONOSC / 100",
        compute=compute,
    )


_ROUNDING: Final = 1e-14
"""More than adding three prices rounds off, less than any tick: 22 % of SOLUSDT's windows hold a minute whose
three prices add up to those of the minute before but for it."""


def _money_flow(minutes: int) -> Feature:
    def compute(columns: Columns) -> Floats:
        prices = _typical_price(columns)
        moves = change(prices)
        moves *= np.abs(moves) > _ROUNDING * prices[..., 1:]
        flow = np.sign(moves, out=moves)
        flow *= prices[..., 1:]
        flow *= columns.volume[..., 1:]
        rising, falling = (sums(part, minutes) for part in rises_and_falls(flow))
        falling += rising
        return quotient(rising, falling, len(columns))

    return _of_set_2(
        name=f"money_flow_{minutes}",
        inputs=("high", "low", "close", "volume"),
        window=minutes + 1,
        unit="fraction",
        low=0.0,
        high=1.0,
        formula=f"r / (r + f), {minutes} min sums of t volume where t = (high + low + close) / 3 rose, fell",
        source="Quong and Soudack 1989; TA-Lib MFI / 100",
        compute=compute,
    )


def _ultimate_oscillator(minutes: int) -> Feature:
    def twice(shorter: Floats, width: int) -> Floats:
        return shorter[..., width:] + shorter[..., : max(0, shorter.shape[-1] - width)]

    def compute(columns: Columns) -> Floats:
        pressure = columns.close[..., 1:] - np.minimum(columns.low[..., 1:], columns.close[..., :-1])
        part, whole = sums(pressure, minutes), sums(true_range(columns), minutes)
        half, half_whole = twice(part, minutes), twice(whole, minutes)
        total = 4.0 * (part[..., 3 * minutes :] / whole[..., 3 * minutes :])
        middle = half[..., 2 * minutes :] / half_whole[..., 2 * minutes :]
        middle *= 2.0
        total += middle
        total += twice(half, 2 * minutes) / twice(half_whole, 2 * minutes)
        total /= 7.0
        return align(total, len(columns))

    return _of_set_2(
        name="ultimate_oscillator",
        inputs=("high", "low", "close"),
        window=4 * minutes + 1,
        unit="fraction",
        low=0.0,
        high=1.0,
        formula="(4 a + 2 b + c) / 7, for 7, 14, 28 min: sum of close - true low / sum of true range",
        source="Williams 1985; TA-Lib ULTOSC / 100",
        compute=compute,
    )


def _trix(period: int) -> Feature:
    alpha = ema_alpha(period)

    def compute(columns: Columns) -> Floats:
        smooth = columns.close
        for _ in range(3):
            smooth = average(smooth, alpha)
        return quotient(change(smooth), smooth[..., :-1], len(columns))

    return _of_set_2(
        name=f"trix_{period}",
        inputs=("close",),
        window=3 * warmup(alpha) - 1,
        unit="fraction per minute",
        low=-1.0,
        high=None,
        formula=f"x / x one min before - 1, x = EMA {period} of EMA {period} of EMA {period} of the close",
        source="Hutson 1983; TA-Lib TRIX / 100",
        compute=compute,
    )


FEATURES: Final = (
    _relative_strength(14),
    _macd("macd", _macd_line, _LINE_WINDOW, "(EMA 12 - EMA 26 of the close) / close"),
    _macd("macd_signal", _macd_signal, _SIGNAL_WINDOW, "EMA 9 of (EMA 12 - EMA 26) / close"),
    _macd(
        "macd_histogram",
        _macd_histogram,
        _SIGNAL_WINDOW,
        "(MACD line - its EMA 9) / close",
        "Aspray 1986; TA-Lib MACD",
    ),
    _stochastic_k(14),
    _stochastic_d(14, smoothing=3),
    _rate_of_change(10),
    _directional_index(),
    _directional_indicator(0, "plus", "rise of the high"),
    _directional_indicator(1, "minus", "fall of the low"),
    _commodity_channel(20),
    _aroon_oscillator(25),
    _money_flow(14),
    _ultimate_oscillator(7),
    _trix(15),
)

"""Returns, volatility and trend: values worked by hand, and the papers' formulas in plain loops.

The loops share nothing with the package: they read candles as tuples and sum from left to right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from tests.features.bars import Bar, bars_of, closes, laid, last, still
from tests.features.samples import columns, gappy

from marketdata.features import NAMES, REGISTRY, Columns, compute

GROUPS = ("returns", "volatility", "trend")
NEW = tuple(feature for feature in REGISTRY if feature.group in GROUPS and feature.since_version == 2)
BY_NAME = {feature.name: feature for feature in REGISTRY}


def test_the_set_holds_these_features_in_this_order() -> None:
    assert [feature.name for feature in NEW] == [
        *("return_30m", "return_120m", "return_720m", "return_1440m"),
        *("volatility_240m", "volatility_1440m", "garman_klass_60m", "rogers_satchell_60m"),
        *("yang_zhang_60m", "yang_zhang_240m", "realised_skewness_240m", "realised_kurtosis_240m"),
        *("ema_distance_100", "vwap_distance_240m", "bollinger_position_60", "slope_60m", "slope_r2_60m"),
        *("high_low_position_240m", "high_low_position_1440m", "efficiency_ratio_60m", "choppiness_14"),
    ]


# Worked by hand. One candle that moved among candles at rest: 100 before it, 105 behind it.
MOVED = Bar(100.0, 110.0, 95.0, 105.0)
AFTER_A_GAP = Bar(102.0, 110.0, 95.0, 105.0)
# Returns of 0.02, -0.01 and -0.01, and otherwise none.
THREE_RETURNS = closes([100.0] * 200 + [100.0 * math.exp(x) for x in (0.02, 0.01, 0.0)] + [100.0] * 38)

WORKED: list[tuple[str, list[Bar], float]] = [
    *(
        (f"return_{n}m", closes([math.exp(0.001 * i) for i in range(n + 1)]), n / 1_000)
        for n in (30, 120, 720)
    ),
    ("return_1440m", [*still(50.0, 1), *still(99.0, 1_439), *still(100.0, 1)], 0.6931471806),  # ln 2
    # Returns of +0.01 and -0.01 in turn: mean 0, each 0.01 from it.
    ("volatility_240m", closes([math.exp(0.01 * (i % 2)) for i in range(241)]), 0.01),
    ("volatility_1440m", closes([math.exp(0.01 * (i % 2)) for i in range(1_441)]), 0.01),
    # ln(110/95)^2 / 2 - 0.3862943611 ln(105/100)^2 = 0.1466034742^2 / 2 - 0.3862943611 * 0.0487901642^2
    #   = 0.0107462893 - 0.0009195660 = 0.0098267233; over 60 minutes: sqrt(0.0098267233 / 60)
    ("garman_klass_60m", [*still(100.0, 20), MOVED, *still(105.0, 39)], 0.0127976061),
    # ln(110/105) ln(110/100) + ln(95/105) ln(95/100)
    #   = 0.0465200156 * 0.0953101798 + 0.1000834586 * 0.0512932944 = 0.0095674414; sqrt(0.0095674414 / 60)
    ("rogers_satchell_60m", [*still(100.0, 20), MOVED, *still(105.0, 39)], 0.0126276425),
    # The sample variance of one value x and n - 1 zeros is (x^2 - x^2 / n) / (n - 1) = x^2 / n. Overnight
    # ln(102/100)^2 = 0.0003921440, daily ln(105/102)^2 = 0.0008402773, within 0.0465200156 * 0.0755075525
    # + 0.1000834586 * 0.0710959217 = 0.0106281383, all over n. k = 0.34 / (1.34 + 61/59) = 0.1432243324:
    # 0.0003921440 + 0.1432243324 * 0.0008402773 + 0.8567756676 * 0.0106281383 = 0.0096184225
    ("yang_zhang_60m", [*still(100.0, 21), AFTER_A_GAP, *still(105.0, 39)], 0.0126612417),  # sqrt(that / 60)
    # k = 0.34 / (1.34 + 241/239) = 0.1447813847: 0.0096031822
    (
        "yang_zhang_240m",
        [*still(100.0, 21), AFTER_A_GAP, *still(105.0, 219)],
        0.0063256035,
    ),  # sqrt(that / 240)
    # Squares add up to 6e-4, cubes to 8e-6 - 2e-6 = 6e-6, fourth powers to 16e-8 + 2e-8 = 18e-8.
    ("realised_skewness_240m", THREE_RETURNS, 6.3245553203),  # sqrt(240) 6e-6 / 6e-4^1.5 = sqrt(40)
    ("realised_kurtosis_240m", THREE_RETURNS, 120.0),  # 240 * 18e-8 / 36e-8
    # The newest close weighs 2/101: the average is 100 + 10 * 2/101 = 100.1980198020.
    ("ema_distance_100", [*still(100.0, 1_381), *still(110.0, 1)], 0.0978260870),  # 110 / 100.1980198020 - 1
    # 180 minutes of 2 at 100 and 60 minutes of 6 at 200: (36,000 + 72,000) / (360 + 360) = 150.
    (
        "vwap_distance_240m",
        [Bar(*4 * (100.0,), 2.0, 200.0)] * 180 + [Bar(*4 * (200.0,), 6.0, 1_200.0)] * 60,
        1 / 3,  # 200 / 150 - 1
    ),
    # Mean 101, variance (59 * 1^2 + 59^2) / 60 = 59: 1/2 + 59 / (4 sqrt(59)), the highest there can be.
    ("bollinger_position_60", [*still(100.0, 59), *still(160.0, 1)], 0.5 + math.sqrt(59) / 4),
    ("slope_60m", closes([100.0 + 2.0 * i for i in range(60)]), 2.0 / 218.0),
    ("slope_r2_60m", closes([100.0 + 2.0 * i for i in range(60)]), 1.0),
    # 101 and 99 in turn: each pair adds x - (x + 1) = -1. Sxy = -30, Sxx = 60 * 3599 / 12 = 17,995, Syy = 60.
    ("slope_60m", closes([101.0, 99.0] * 30), -30 / 17_995 / 99.0),
    ("slope_r2_60m", closes([101.0, 99.0] * 30), 900 / (17_995 * 60)),
    *(
        (
            f"high_low_position_{n}m",
            [Bar(100.0, 110.0, 90.0, 100.0), *still(100.0, n - 2), Bar(100.0, 108.0, 95.0, 105.0)],
            0.75,  # (105 - 90) / (110 - 90): the oldest candle of the window counts
        )
        for n in (240, 1_440)
    ),
    # 45 steps up and 15 down: 30 of 60.
    ("efficiency_ratio_60m", closes([100.0, *(100.0 + min(i, 90 - i) for i in range(1, 61))]), 0.5),
    # 13 highs of 101 and lows of 100, one high of 102: 14 * 1 / (102 - 100) = 7.
    (
        "choppiness_14",
        [*still(101.0, 1), *[Bar(100.5, 101.0, 100.0, 101.0)] * 13, Bar(101.0, 102.0, 101.0, 101.0)],
        0.7373504650,  # ln 7 / ln 14 = 1.9459101491 / 2.6390573296
    ),
    # Straight up: as much way as there is span. Round and round: 14 spans of way.
    ("choppiness_14", [Bar(100.0 + i, 101.0 + i, 100.0 + i, 101.0 + i) for i in range(15)], 0.0),
    ("choppiness_14", [Bar(100.0, 101.0, 99.0, 100.0)] * 15, 1.0),
]


@pytest.mark.parametrize(
    ("name", "bars", "expected"), WORKED, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(WORKED)]
)
def test_values_worked_by_hand(name: str, bars: list[Bar], expected: float) -> None:
    assert len(bars) == BY_NAME[name].window
    assert last(name, laid(bars)) == pytest.approx(expected, rel=0, abs=1e-10)


def test_every_new_feature_has_a_value_worked_by_hand_and_a_loop() -> None:
    new = {feature.name for feature in NEW}
    assert {name for name, *_ in WORKED} == new == LOOPS.keys() - {"parkinson_60m"}


def returns(bars: Sequence[Bar]) -> list[float]:
    return [math.log(bar.close / before.close) for before, bar in pairwise(bars)]


def variance(values: Sequence[float], less: int) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - less)


def garman_klass(bars: Sequence[Bar]) -> float:
    total = 0.0
    for bar in bars:
        u, d, c = (math.log(price / bar.open) for price in (bar.high, bar.low, bar.close))
        total += 0.5 * (u - d) ** 2 - (2 * math.log(2) - 1) * c**2
    return math.sqrt(total / len(bars))


def within(bars: Sequence[Bar]) -> float:
    total = 0.0
    for bar in bars:
        total += math.log(bar.high / bar.close) * math.log(bar.high / bar.open)
        total += math.log(bar.low / bar.close) * math.log(bar.low / bar.open)
    return total / len(bars)


def yang_zhang(bars: Sequence[Bar]) -> float:
    n = len(bars) - 1
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    overnight = [math.log(bar.open / before.close) for before, bar in pairwise(bars)]
    daily = [math.log(bar.close / bar.open) for bar in bars[1:]]
    return math.sqrt(variance(overnight, 1) + k * variance(daily, 1) + (1 - k) * within(bars[1:]))


def skewness(bars: Sequence[Bar]) -> float:
    r = returns(bars)
    return math.sqrt(len(r)) * math.fsum(x**3 for x in r) / math.fsum(x**2 for x in r) ** 1.5


def kurtosis(bars: Sequence[Bar]) -> float:
    r = returns(bars)
    return len(r) * math.fsum(x**4 for x in r) / math.fsum(x**2 for x in r) ** 2


def ema_distance(bars: Sequence[Bar]) -> float:
    """The textbook's recursion, which a seed of 1e-12 of the weight starts."""
    average = bars[0].close
    for bar in bars[1:]:
        average += 2 / 101 * (bar.close - average)
    return bars[-1].close / average - 1


def average_price(bars: Sequence[Bar]) -> float:
    return math.fsum(bar.quote_volume for bar in bars) / math.fsum(bar.volume for bar in bars)


def percent_b(bars: Sequence[Bar]) -> float:
    prices = [bar.close for bar in bars]
    mean, deviation = math.fsum(prices) / len(prices), math.sqrt(variance(prices, 0))
    lower, upper = mean - 2 * deviation, mean + 2 * deviation
    return (prices[-1] - lower) / (upper - lower)


def line(bars: Sequence[Bar]) -> tuple[float, float]:
    """Slope and R squared, as one less the share of the variance that the line leaves."""
    y, n = [bar.close for bar in bars], len(bars)
    x_mean, y_mean = (n - 1) / 2, math.fsum(y) / n
    slope = math.fsum((x - x_mean) * (v - y_mean) for x, v in enumerate(y))
    slope /= math.fsum((x - x_mean) ** 2 for x in range(n))
    left = math.fsum((v - y_mean - slope * (x - x_mean)) ** 2 for x, v in enumerate(y))
    return slope, 1 - left / math.fsum((v - y_mean) ** 2 for v in y)


def channel(bars: Sequence[Bar]) -> float:
    bottom = min(bar.low for bar in bars)
    return (bars[-1].close - bottom) / (max(bar.high for bar in bars) - bottom)


def efficiency(bars: Sequence[Bar]) -> float:
    steps = [abs(bar.close - before.close) for before, bar in pairwise(bars)]
    return abs(bars[-1].close - bars[0].close) / math.fsum(steps)


def choppiness(bars: Sequence[Bar]) -> float:
    way = 0.0
    for before, bar in pairwise(bars):
        way += max(bar.high - bar.low, abs(bar.high - before.close), abs(bar.low - before.close))
    span = max(bar.high for bar in bars[1:]) - min(bar.low for bar in bars[1:])
    return min(1.0, math.log10(way / span) / math.log10(14))


def log_return(bars: Sequence[Bar]) -> float:
    return math.log(bars[-1].close) - math.log(bars[0].close)


def deviation(bars: Sequence[Bar]) -> float:
    return math.sqrt(variance(returns(bars), 0))


def parkinson(bars: Sequence[Bar]) -> float:
    total = math.fsum(math.log(bar.high / bar.low) ** 2 for bar in bars)
    return math.sqrt(total / len(bars) / (4 * math.log(2)))


LOOPS: dict[str, Callable[[Sequence[Bar]], float]] = {
    **{f"return_{n}m": log_return for n in (30, 120, 720, 1_440)},
    **{f"volatility_{n}m": deviation for n in (240, 1_440)},
    "parkinson_60m": parkinson,
    "garman_klass_60m": garman_klass,
    "rogers_satchell_60m": lambda bars: math.sqrt(within(bars)),
    "yang_zhang_60m": yang_zhang,
    "yang_zhang_240m": yang_zhang,
    "realised_skewness_240m": skewness,
    "realised_kurtosis_240m": kurtosis,
    "ema_distance_100": ema_distance,
    "vwap_distance_240m": lambda bars: bars[-1].close / average_price(bars) - 1,
    "bollinger_position_60": percent_b,
    "slope_60m": lambda bars: line(bars)[0] / bars[-1].close,
    "slope_r2_60m": lambda bars: line(bars)[1],
    **{f"high_low_position_{n}m": channel for n in (240, 1_440)},
    "efficiency_ratio_60m": efficiency,
    "choppiness_14": choppiness,
}
PRICES = ((28_000.0, 0.01), (1e-5, 1e-8), (1e6, 0.01))


@cache
def sample(price: float, tick: float) -> Columns:
    return columns(gappy(4_000, seed=21, price=price, tick=tick))


@pytest.mark.parity
@pytest.mark.parametrize(("price", "tick"), PRICES)
@pytest.mark.parametrize("name", LOOPS)
def test_the_papers_formula_in_a_plain_loop(name: str, price: float, tick: float) -> None:
    feature, minutes = BY_NAME[name], sample(price, tick)
    values, bars = compute(minutes).values[:, NAMES.index(name)], bars_of(minutes)
    for place in (feature.window - 1, *np.random.default_rng(3).integers(1_500, 4_000, 25).tolist()):
        expected = LOOPS[name](bars[place - feature.window + 1 : place + 1])
        assert values[place] == pytest.approx(expected, rel=1e-9, abs=1e-12), place

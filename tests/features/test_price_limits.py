"""Returns, volatility and trend: the same bits in every company, and what they are at their limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from tests.features.bars import Bar, closes, laid, last, still
from tests.features.samples import columns, gappy, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute
from marketdata.features.columns import Floats
from marketdata.features.feature import Feature

GROUPS = ("returns", "volatility", "trend")
PRICE = tuple(feature for feature in REGISTRY if feature.group in GROUPS)
BY_NAME = {feature.name: feature for feature in REGISTRY}
PRICES = ((28_000.0, 0.01), (1e-5, 1e-8), (1e6, 0.01))
UNDEFINED_AT_REST = {
    "realised_skewness_240m",
    "realised_kurtosis_240m",
    "bollinger_position_20",
    "bollinger_position_60",
    "slope_r2_60m",
    "high_low_position_60m",
    "high_low_position_240m",
    "high_low_position_1440m",
    "efficiency_ratio_60m",
    "choppiness_14",
}


def jumped(at: int, n: int = 3_600) -> Columns:
    """One close ten times too high, then prices as before."""
    table = gappy(n, seed=23)
    table[at, 1:5] *= (1.0, 10.0, 1.0, 10.0)
    return columns(table)


def at_rest_behind_a_jump(at: int, n: int = 3_600) -> Columns:
    table = gappy(n, seed=24)
    table[at:, 1:5] = 10.0 * table[at - 1, 4]
    table[at:, 5:] = 0.0
    return columns(table)


SERIES: dict[str, Callable[[], Columns]] = {
    **{
        f"{price:g}": lambda price=price, tick=tick: columns(gappy(3_600, seed=21, price=price, tick=tick))
        for price, tick in PRICES
    },  # type: ignore[misc]
    "jump": lambda: jumped(1_500),
    "at rest": lambda: at_rest_behind_a_jump(1_900),
    "opens at the close before": lambda: seeded(3_600, seed=25),
}


@pytest.mark.parity
@pytest.mark.parametrize("series", SERIES)
def test_a_row_has_the_same_bits_alone_and_in_a_month(series: str) -> None:
    minutes = SERIES[series]()
    month = compute(minutes).values
    places = [*range(MAX_WINDOW, 1_700, 53), *range(1_880, 1_930, 3), *range(1_950, 3_600, 97)]
    for feature in PRICE:
        number = NAMES.index(feature.name)
        for place in places:
            own = minutes.part(place - feature.window + 1, place + 1)
            with np.errstate(all="ignore"):
                alone = feature.compute(own)[-1]
            assert_bits(month[place, number], alone, f"{feature.name} at {place}")


def assert_bits(month: float, alone: float, place: str) -> None:
    if math.isnan(month):
        assert not math.isfinite(alone), place
    else:
        assert month == alone, place


@pytest.mark.parity
def test_many_symbols_at_once_have_the_bits_of_each() -> None:
    symbols = [make() for make in SERIES.values()]
    together = Columns.stack(symbols)
    for feature in PRICE:
        with np.errstate(all="ignore"):
            values = feature.compute(together)
            assert values.shape == (len(symbols), 3_600), feature.name
            for one, minutes in zip(values, symbols, strict=True):
                expected = feature.compute(minutes)[feature.window - 1 :]
                np.testing.assert_array_equal(one[feature.window - 1 :], expected, feature.name)


@pytest.mark.parametrize("feature", PRICE, ids=[feature.name for feature in PRICE])
@pytest.mark.parametrize("short", [0, 1, 2])
def test_a_history_shorter_than_the_window_has_no_value(feature: Feature, short: int) -> None:
    """As many values as minutes, however few: of 0, 1 and, by one, too few of them."""
    for n in {short, max(0, feature.window - 1 - short)}:
        minutes = seeded(MAX_WINDOW).part(0, n)
        for part in (minutes, Columns.stack([minutes, minutes])):
            with np.errstate(all="ignore"):
                assert feature.compute(part).shape == part.close.shape


# Limits.


def by_name(minutes: Columns) -> dict[str, Floats]:
    values = compute(minutes).values
    return {feature.name: values[:, NAMES.index(feature.name)] for feature in PRICE}


def wild(seed: int, n: int = 4_000) -> Columns:
    """Prices that jump by up to a thousand, rest for an hour now and then, and trade or don't."""
    table = gappy(n, seed=seed)
    draw = np.random.default_rng([seed, 2])
    for at in draw.integers(0, n, 12):
        table[at:, 1:5] *= 10.0 ** draw.uniform(-3.0, 3.0)
        table[at:, 6] *= table[at, 4] / table[max(0, at - 1), 4]
    for at in draw.integers(0, n - 100, 8):
        table[at : at + 90, 1:5] = table[at, 4]
        table[at : at + 90, 5:] = 0.0
    return columns(table)


@pytest.mark.parametrize("seed", range(4))
def test_wild_prices_stay_in_the_ranges(seed: int) -> None:
    for name, values in by_name(wild(seed)).items():
        feature, known = BY_NAME[name], values[~np.isnan(values)]
        assert len(known) > 1_500, name
        slack = 1e-12 * max(1.0, abs(feature.low or 0.0), abs(feature.high or 0.0))
        assert feature.low is None or known.min() >= feature.low - slack, name
        assert feature.high is None or known.max() <= feature.high + slack, name


@pytest.mark.parametrize(
    ("name", "bars", "bound"),
    [
        ("realised_skewness_240m", [*still(1.0, 1), *still(9.0, 240)], math.sqrt(240)),
        ("realised_skewness_240m", [*still(9.0, 1), *still(1.0, 240)], -math.sqrt(240)),
        ("realised_kurtosis_240m", [*still(9.0, 1), *still(1.0, 240)], 240.0),
        ("realised_kurtosis_240m", closes([math.exp(0.01 * (i % 2)) for i in range(241)]), 1.0),
        ("slope_r2_60m", closes([1e6 + 0.01 * i for i in range(60)]), 1.0),
        ("slope_r2_60m", closes([1.0 + 0.1 * i for i in range(60)]), 1.0),  # rounds to a bit more
        ("efficiency_ratio_60m", closes([1e-5 + 1e-8 * i for i in range(61)]), 1.0),
        ("efficiency_ratio_60m", closes([1.0, 2.0] * 30 + [1.0]), 0.0),
        ("ema_distance_100", [*still(1e-9, 1_381), *still(1.0, 1)], 49.5),
    ],
)
def test_a_bound_is_reached_and_not_passed(name: str, bars: list[Bar], bound: float) -> None:
    value = last(name, laid(bars))
    assert value == pytest.approx(bound, rel=1e-6)
    low, high = BY_NAME[name].low, BY_NAME[name].high
    assert low is not None
    assert high is not None
    assert bound in (pytest.approx(low), pytest.approx(high))
    assert low <= value <= high


@pytest.mark.parametrize("price", [7.0, 0.1234567, 1e-5, 1_000_000.01])
def test_prices_at_rest_give_exactly_zero_or_nothing(price: float) -> None:
    bars = [Bar(price, price, price, price, 3.0, 3.0 * price)] * MAX_WINDOW
    for name, values in by_name(laid(bars)).items():
        if name in UNDEFINED_AT_REST:
            assert math.isnan(values[-1]), name
        elif name == "vwap_distance_240m":
            assert values[-1] == pytest.approx(0.0, abs=1e-14)
        else:
            assert values[-1] == 0.0, name


def test_no_volume_leaves_only_the_average_price_undefined() -> None:
    table = gappy(MAX_WINDOW, seed=5)
    table[:, 5:] = 0.0
    assert {n for n, values in by_name(columns(table)).items() if math.isnan(values[-1])} == {
        "vwap_distance_240m"
    }


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_tenfold_jump_in_the_newest_minute(factor: float) -> None:
    table = rows(MAX_WINDOW, seed=6)
    before = table[-2, 4]
    table[-1, 1:5] = before * np.array([1.0, max(1.0, factor), min(1.0, factor), factor])
    values = {name: column[-1] for name, column in by_name(columns(table)).items()}
    assert all(map(math.isfinite, values.values()))
    side = math.copysign(1.0, math.log(factor))
    for n in (30, 120, 720, 1_440):
        moved = side * math.log(10.0) + math.log(before / table[-1 - n, 4])
        assert values[f"return_{n}m"] == pytest.approx(moved)
    # One return among 240 is all that counts.
    assert values["realised_skewness_240m"] == pytest.approx(side * math.sqrt(240), rel=1e-3)
    assert values["realised_kurtosis_240m"] == pytest.approx(240.0, rel=1e-3)
    assert values["volatility_240m"] == pytest.approx(math.log(10.0) * math.sqrt(239) / 240, rel=1e-3)
    # Straight from open to close: its range tells the reach, and Rogers and Satchell's nothing of it.
    assert values["garman_klass_60m"] == pytest.approx(
        math.log(10.0) * math.sqrt((1.5 - 2 * math.log(2)) / 60), rel=1e-3
    )
    assert values["rogers_satchell_60m"] < 1e-2
    assert values["bollinger_position_60"] == pytest.approx(0.5 + side * math.sqrt(59) / 4, abs=1e-2)
    assert values["high_low_position_1440m"] == values["high_low_position_240m"] == (factor > 1.0)


def test_prices_at_rest_behind_a_gap_have_no_choppiness() -> None:
    """The gap leads into the window, so there is a way and no span; one minute later there is neither."""
    for behind in (14, 15, 40):
        assert math.isnan(last("choppiness_14", laid([*still(100.0, 20), *still(105.0, behind)]))), behind
    assert last("choppiness_14", laid([*still(100.0, 20), *still(105.0, 13)])) == 0.0


def test_a_gap_into_the_window_is_at_most_all_chop() -> None:
    bars = [*still(100.0, 1), *[Bar(150.0, 151.0, 149.0, 150.0)] * 14]  # a way of 51 + 13 * 2, a span of 2
    assert last("choppiness_14", laid(bars)) == 1.0


def test_a_single_candle_gives_no_price_feature() -> None:
    assert np.isnan(compute(seeded(1)).values[0, [NAMES.index(feature.name) for feature in PRICE]]).all()


def test_no_value_depends_on_the_unit_of_price_or_volume() -> None:
    """Powers of two change no digit: the values are the same bit by bit."""
    table, scaled = gappy(2_000, seed=8), gappy(2_000, seed=8)
    scaled[:, 1:5] *= 2.0**-30
    scaled[:, 6] *= 2.0**-24
    scaled[:, 5] *= 2.0**6
    before, after = by_name(columns(table)), by_name(columns(scaled))
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, name)

"""Momentum, volume and microstructure of set 2: by hand, by plain loops, at their bounds, where null."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.features.samples import columns, constant, rows, seeded
from tests.features.suites import features

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns
from marketdata.features.columns import Floats
from marketdata.features.engine import compute_instant
from marketdata.features.feature import Feature

GROUPS = ("momentum", "volume", "microstructure")
FLOW = tuple(feature for feature in REGISTRY if feature.group in GROUPS and feature.since_version == 2)
EACH = pytest.mark.parametrize("feature", FLOW, ids=[feature.name for feature in FLOW])
BOUNDS = {feature.name: (feature.low, feature.high) for feature in FLOW}
NEEDS_MOVEMENT = {
    "stochastic_k_14",
    "stochastic_d_14",
    "adx_14",
    "plus_di_14",
    "minus_di_14",
    "cci_20",
    "money_flow_14",
    "ultimate_oscillator",
    "amihud_ratio_60m_1440m",
    "return_volume_correlation_60m",
}
NEEDS_VOLUME = {
    "money_flow_14",
    "volume_zscore_1440m",
    "taker_ratio_60m",
    "obv_slope_60m",
    "amihud_ratio_60m_1440m",
    "chaikin_money_flow_20",
    "trade_size_ratio_15m_240m",
    "return_volume_correlation_60m",
}


def values(feature: Feature, minutes: Columns) -> Floats:
    with np.errstate(all="ignore"):
        return feature.compute(minutes)


def newest(minutes: Columns, name: str) -> float:
    return float(features(minutes)[name][-1])


def nulls(minutes: Columns) -> set[str]:
    found = features(minutes)
    return {feature.name for feature in FLOW if math.isnan(found[feature.name][-1])}


def minutes_of(n: int, **given: object) -> Columns:
    """``n`` minutes at 100, 1 traded in each in one trade and nobody's gain, but for what is given."""
    table = rows(n)
    table[:, 1:5] = 100.0
    table[:, 5:] = 1.0
    names = ("open", "high", "low", "close", "volume", "quote_volume", "trades")
    for name, column in given.items():
        if name in names:
            table[:, 1 + names.index(name)] = column
    books = {name: np.broadcast_to(column, n) for name, column in given.items() if name not in names}
    return replace(columns(table), **books)


# By hand


def test_the_stochastic_is_the_place_in_the_range_of_14_minutes() -> None:
    close = np.full(16, 100.0)
    close[-3:] = 104.0, 106.0, 103.0
    minutes = minutes_of(16, high=close + 2.0, low=close - 2.0, close=close)
    # 14 minutes: the highest high is 106, 108, 108; the lowest low is 98 in all three.
    places = [(104 - 98) / (106 - 98), (106 - 98) / (108 - 98), (103 - 98) / (108 - 98)]  # 0.75, 0.8, 0.5
    assert newest(minutes, "stochastic_k_14") == pytest.approx(0.5, rel=1e-12)
    assert newest(minutes, "stochastic_d_14") == pytest.approx(sum(places) / 3, rel=1e-12)  # 2.05 / 3


def test_a_steady_rise_is_all_plus() -> None:
    close = 100.0 + np.arange(800.0)
    minutes = minutes_of(800, high=close + 1.0, low=close - 1.0, close=close)
    # Each high is 1 above the last, no low is below; the true range is 2 in each minute.
    assert newest(minutes, "plus_di_14") == pytest.approx(1 / 2, rel=1e-12)
    assert newest(minutes, "minus_di_14") == 0.0
    assert newest(minutes, "adx_14") == pytest.approx(1.0, rel=1e-12)
    # The close, 1 under the high, is 2 above the last close's low: pressure 1 to 2 of a true range of 2.
    assert newest(minutes, "ultimate_oscillator") == pytest.approx(1 / 2, rel=1e-12)
    assert newest(minutes, "aroon_oscillator_25") == 1.0
    assert newest(minutes, "money_flow_14") == 1.0
    assert newest(minutes, "roc_10") == pytest.approx(10 / 889, rel=1e-12)
    assert newest(minutes, "cci_20") == pytest.approx(
        9.5 / (1.5 * 5.0), rel=1e-12
    )  # mean of |-9.5 ... 9.5| is 5


def test_of_a_minute_that_goes_beyond_both_only_the_greater_move_counts() -> None:
    wider = np.arange(800.0)
    same = minutes_of(800, high=10_000.0 + wider, low=9_000.0 - wider, close=9_500.0)
    assert newest(same, "plus_di_14") == newest(same, "minus_di_14") == 0.0  # equal moves: neither
    assert "adx_14" in nulls(same)
    more_down = minutes_of(800, high=10_000.0 + wider, low=9_000.0 - 2.0 * wider, close=9_500.0)
    assert newest(more_down, "plus_di_14") == 0.0
    assert newest(more_down, "adx_14") == pytest.approx(1.0, rel=1e-12)
    # True ranges of 1000 + 3 k, k minutes' widening, averaged by weights whose mean age is 13 minutes
    assert newest(more_down, "minus_di_14") == pytest.approx(2.0 / (1_000.0 + 3.0 * (799.0 - 13.0)), rel=1e-9)


def test_growth_by_a_tenth_of_a_percent_is_a_trix_of_that() -> None:
    close = 100.0 * 1.001 ** np.arange(700.0)
    assert newest(minutes_of(700, close=close), "trix_15") == pytest.approx(0.001, rel=1e-9)


def test_typical_prices_that_are_equal_but_for_a_rounding_are_no_flow() -> None:
    """Two minutes of ETHUSDT: 1701.55 + 1699.00 + 1701.25 = 1701.61 + 1700.00 + 1700.19 = 5101.80."""
    bars = {"high": (1701.55, 1701.61), "low": (1699.0, 1700.0), "close": (1701.25, 1700.19)}
    assert sum(bar[0] for bar in bars.values()) != sum(bar[1] for bar in bars.values())
    full = {name: np.r_[np.full(13, 100.0), bar] for name, bar in bars.items()}
    assert (
        newest(minutes_of(15, **full), "money_flow_14") == 1.0
    )  # the rise of the minute before, nothing else


def test_a_step_of_the_balance_weighs_by_its_place() -> None:
    """A step at place 30 of 60 adds 6 * 30 * 30 / (60 * 3599) = 0.0250069 of its volume to the slope."""
    close = np.where(np.arange(60) < 30, 100.0, 101.0)
    slope = newest(minutes_of(60, close=close, volume=5.0), "obv_slope_60m")
    assert slope == pytest.approx(0.025006946373715, rel=1e-12)  # 5 * 0.0250069 / 5
    rising = minutes_of(60, close=100.0 + np.arange(60.0), volume=5.0)
    assert newest(rising, "obv_slope_60m") == pytest.approx(1.0, rel=1e-12)  # 5 a minute / 5
    only = np.where(np.arange(60) == 30, 7.0, 0.0)
    most = newest(minutes_of(60, close=close, volume=only), "obv_slope_60m")
    assert most == pytest.approx(1.5 * 3600 / 3599, rel=1e-12)  # 7 * 0.0250069 / (7 / 60): as high as it gets
    assert BOUNDS["obv_slope_60m"] == pytest.approx((-most, most), rel=1e-12)


def test_illiquidity_of_an_hour_beside_that_of_a_day() -> None:
    step = np.where(np.arange(1_441) <= 1_380, 0.02, 0.01) * np.where(np.arange(1_441) % 2, 1.0, -1.0)
    step[0] = 0.0
    given = {"close": 100.0 * np.exp(np.cumsum(step)), "quote_volume": np.full(1_441, 1_000.0)}
    # 0.01 a minute / ((60 * 0.01 + 1380 * 0.02) / 1440 = 0.0195833...), the volume cancels
    ratio = newest(minutes_of(1_441, **given), "amihud_ratio_60m_1440m")
    assert ratio == pytest.approx(0.01 / (28.2 / 1440), rel=1e-12)
    given["quote_volume"][-30:] = 0.0  # half an hour without trades counts in neither mean
    ratio = newest(minutes_of(1_441, **given), "amihud_ratio_60m_1440m")
    assert ratio == pytest.approx(0.01 / ((30 * 0.01 + 1380 * 0.02) / 1410), rel=1e-12)


def test_the_most_that_illiquidity_can_rise() -> None:
    close, quote = np.full(1_441, 100.0), np.ones(1_441)
    quote[-60:-1] = 0.0
    close[-1] = 101.0  # the only return, in the last hour's only minute with trades, one of 1381 of the day
    ratio = newest(minutes_of(1_441, close=close, quote_volume=quote), "amihud_ratio_60m_1440m")
    assert ratio == pytest.approx(1381.0, rel=1e-12)
    assert BOUNDS["amihud_ratio_60m_1440m"] == (0.0, 1381.0)


def test_chaikins_flow_leans_by_where_the_close_stands() -> None:
    close = np.where(np.arange(20) < 10, 11.5, 10.0)
    volume = np.where(np.arange(20) < 10, 3.0, 1.0)
    minutes = minutes_of(20, high=12.0, low=10.0, close=close, volume=volume)
    # ((11.5 - 10) - (12 - 11.5)) / 2 = 0.5 of 3, ten times; -1 of 1, ten times; of 40
    assert newest(minutes, "chaikin_money_flow_20") == pytest.approx((10 * 0.5 * 3 - 10 * 1) / 40, rel=1e-12)


def test_trades_of_a_quarter_hour_beside_those_of_four_hours() -> None:
    volume = np.where(np.arange(240) < 225, 10.0, 30.0)
    minutes = minutes_of(240, volume=volume, trades=10.0)
    # 30 / 10 = 3 beside (225 * 10 + 15 * 30) / 2400 = 1.125
    assert newest(minutes, "trade_size_ratio_15m_240m") == pytest.approx(3.0 / 1.125, rel=1e-12)


def test_returns_that_go_with_volume() -> None:
    up = np.r_[False, np.tile([True, False], 30)]
    close = 100.0 * np.exp(np.cumsum(np.where(up, 0.01, -0.01)))
    together = minutes_of(61, close=close, volume=np.where(up, 3.0, 1.0))
    assert newest(together, "return_volume_correlation_60m") == pytest.approx(1.0, abs=1e-12)
    swapped = up.copy()
    swapped[1:21] = ~up[1:21]  # of 30 rises 20 with volume, 10 without, and so for the falls
    partly = minutes_of(61, close=close, volume=np.where(swapped, 3.0, 1.0))
    # (20 * 20 - 10 * 10) / sqrt(30 * 30 * 30 * 30)
    assert newest(partly, "return_volume_correlation_60m") == pytest.approx(1 / 3, abs=1e-12)


def test_a_spread_alone_is_found_whole() -> None:
    """Bars from 99 to 101 around a price that stands still: the spread is all of it, 2 / 100."""
    flat = minutes_of(61, high=101.0, low=99.0)
    assert newest(flat, "corwin_schultz_60m") == pytest.approx(0.02, rel=1e-12)
    # By hand: b = 2 ln(101/99)^2 = 8.00053e-4, g = 4.00027e-4, k = 3 - 2 sqrt 2 = 0.171573,
    # a = (sqrt(2 b) - sqrt(b)) / k - sqrt(g / k) = 0.0682867 - 0.0482859 = 0.0200007,
    # 2 (e^a - 1) / (e^a + 1) = 0.02
    jumps = 1.1 ** np.clip(np.arange(61.0) - 50.0, 0.0, None)  # ten pairs of bars far apart: negative, so 0
    moving = minutes_of(61, high=101.0 * jumps, low=99.0 * jumps)
    assert newest(moving, "corwin_schultz_60m") == pytest.approx(0.02 * 50 / 60, rel=1e-12)


def test_books_over_a_window() -> None:
    spreads = np.r_[np.full(59, 1.0), 2.0]
    # mean 1 + 1/60, deviation sqrt(59)/60: (59/60) / (sqrt(59)/60)
    assert newest(minutes_of(60, spread_bps=spreads), "spread_zscore_60m") == pytest.approx(math.sqrt(59))
    leaning = np.r_[np.full(10, 0.5), np.full(5, -0.1)]
    assert newest(minutes_of(15, imbalance=leaning), "book_imbalance_15m") == pytest.approx(4.5 / 15)


@pytest.mark.parametrize(("name", "window"), [("spread_zscore_60m", 60), ("book_imbalance_15m", 15)])
def test_a_minute_without_a_book_nulls_the_windows_that_hold_it(name: str, window: int) -> None:
    minutes = seeded(300)
    gap = minutes.spread_bps.copy()
    gap[100] = np.nan
    unseen = features(
        replace(minutes, spread_bps=gap, imbalance=np.where(np.isnan(gap), gap, minutes.imbalance))
    )
    assert np.flatnonzero(np.isnan(unseen[name])).tolist() == [*range(window - 1), *range(100, 100 + window)]


# By plain loops, from the formulas as published


def loop_obv_slope(minutes: Columns, last: int) -> float:
    balance, balances = 0.0, []
    for i in range(last - 59, last + 1):
        if balances:
            move = minutes.close[i] - minutes.close[i - 1]
            balance += minutes.volume[i] if move > 0 else -minutes.volume[i] if move < 0 else 0.0
        balances.append(balance)
    middle, mean = 29.5, sum(balances) / 60
    above = sum((t - middle) * (y - mean) for t, y in enumerate(balances))
    slope = above / sum((t - middle) ** 2 for t in range(60))
    return slope / (sum(minutes.volume[last - 59 : last + 1]) / 60)


def loop_amihud(minutes: Columns, last: int) -> float:
    def mean(n: int) -> float:
        traded = [i for i in range(last - n + 1, last + 1) if minutes.quote_volume[i] > 0]
        moves = {i: abs(math.log(minutes.close[i] / minutes.close[i - 1])) for i in traded}
        return sum(moves[i] / minutes.quote_volume[i] for i in traded) / len(traded)

    return mean(60) / mean(1440)


def loop_trade_size(minutes: Columns, last: int) -> float:
    def size(n: int) -> float:
        window = range(last - n + 1, last + 1)
        return sum(minutes.volume[i] for i in window) / sum(minutes.trades[i] for i in window)

    return size(15) / size(240)


def loop_correlation(minutes: Columns, last: int) -> float:
    window = range(last - 59, last + 1)
    x = [math.log(minutes.close[i] / minutes.close[i - 1]) for i in window]
    y = [minutes.volume[i] for i in window]
    mean_x, mean_y = sum(x) / 60, sum(y) / 60
    both = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return both / math.sqrt(sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y))


def loop_corwin_schultz(minutes: Columns, last: int) -> float:
    estimates = []
    for i in range(last - 59, last + 1):
        beta = sum(math.log(minutes.high[j] / minutes.low[j]) ** 2 for j in (i - 1, i))
        highest, lowest = max(minutes.high[i - 1 : i + 1]), min(minutes.low[i - 1 : i + 1])
        gamma = math.log(highest / lowest) ** 2
        k = 3 - 2 * math.sqrt(2)
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
        estimates.append(max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))))
    return sum(estimates) / 60


def loop_chaikin(minutes: Columns, last: int) -> float:
    flow = 0.0
    for i in range(last - 19, last + 1):
        high, low, close = minutes.high[i], minutes.low[i], minutes.close[i]
        flow += 0.0 if high == low else ((close - low) - (high - close)) / (high - low) * minutes.volume[i]
    return flow / sum(minutes.volume[last - 19 : last + 1])


def loop_zscore(column: str, n: int) -> Callable[[Columns, int], float]:
    def score(minutes: Columns, last: int) -> float:
        window = getattr(minutes, column)[last - n + 1 : last + 1].tolist()
        mean = sum(window) / n
        return (window[-1] - mean) / math.sqrt(sum((value - mean) ** 2 for value in window) / n)

    return score


def loop_mean(column: str, n: int, other: str | None = None) -> Callable[[Columns, int], float]:
    def mean(minutes: Columns, last: int) -> float:
        window = slice(last - n + 1, last + 1)
        divisor = n if other is None else sum(getattr(minutes, other)[window])
        return sum(getattr(minutes, column)[window]) / divisor

    return mean


@pytest.mark.parametrize(
    ("name", "loop"),
    [
        ("obv_slope_60m", loop_obv_slope),
        ("amihud_ratio_60m_1440m", loop_amihud),
        ("trade_size_ratio_15m_240m", loop_trade_size),
        ("return_volume_correlation_60m", loop_correlation),
        ("corwin_schultz_60m", loop_corwin_schultz),
        ("chaikin_money_flow_20", loop_chaikin),
        ("volume_zscore_1440m", loop_zscore("volume", 1440)),
        ("spread_zscore_60m", loop_zscore("spread_bps", 60)),
        ("book_imbalance_15m", loop_mean("imbalance", 15)),
        ("taker_ratio_60m", loop_mean("taker_buy_volume", 60, other="volume")),
    ],
)
def test_plain_loops(name: str, loop: Callable[[Columns, int], float]) -> None:
    table = rows(1_800, seed=12)
    table[:, 7] = np.ceil(table[:, 5] * np.random.default_rng(13).random(1_800))  # trades of all sizes
    minutes = columns(table)
    found = features(minutes)[name]
    for last in range(1_441, 1_800, 23):
        assert found[last] == pytest.approx(loop(minutes, last), rel=1e-9, abs=1e-12), last


# What every one of them keeps


@EACH
def test_a_value_needs_its_whole_window_and_nothing_older(feature: Feature) -> None:
    """Nothing is known of the minutes before the window; then nothing of its oldest either."""
    minutes = seeded(feature.window + 40)
    row = 20 + feature.window - 1

    def after(unknown: int) -> float:
        cut = {name: getattr(minutes, name).copy() for name in feature.inputs}
        for column in cut.values():
            column[:unknown] = np.nan
        return float(values(feature, replace(minutes, **cut))[row])

    assert after(20) == values(feature, minutes)[row]
    assert math.isnan(after(21))


MARKETS = {
    "bitcoin": rows(2_600, seed=5),
    "tiny": rows(2_600, seed=6, price=1e-5, tick=1e-8),
    "huge": rows(2_600, seed=7, price=1e6, tick=0.01),
    "jump": rows(2_600, seed=8),
    "still after a jump": rows(2_600, seed=9),
    "a burst of volume": rows(2_600, seed=10),
}
MARKETS["jump"][1_500:, 1:5] *= 10.0
MARKETS["still after a jump"][1_500:, 1:5] = MARKETS["still after a jump"][1_499, 4] * 10.0
MARKETS["still after a jump"][1_600:, 5:] = 0.0
MARKETS["a burst of volume"][1_500, 5:] = 1e15


@EACH
@pytest.mark.parametrize("market", MARKETS)
def test_a_row_alone_is_the_row_amid_a_month_bit_by_bit(market: str, feature: Feature) -> None:
    minutes = columns(MARKETS[market])
    whole = values(feature, minutes)
    for row in (*range(1_450, 1_640, 19), 1_900, 2_250, 2_599):
        alone = values(feature, minutes.part(row - feature.window + 1, row + 1))
        np.testing.assert_array_equal(alone[-1], whole[row])


@EACH
def test_many_symbols_at_once_are_each_by_itself_bit_by_bit(feature: Feature) -> None:
    each = [columns(table) for table in MARKETS.values()]
    together = values(feature, Columns.stack(each))
    for one, row in zip(each, together, strict=True):
        np.testing.assert_array_equal(row[feature.window - 1 :], values(feature, one)[feature.window - 1 :])
    live = compute_instant(Columns.stack([one.part(0, 1_560) for one in each]))
    np.testing.assert_array_equal(live.values[:, NAMES.index(feature.name)], together[:, 1_559])


@pytest.mark.parametrize("seed", range(4))
def test_ranges_hold_for_thin_and_wild_trading(seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = rows(4_000, seed=20 + seed)
    table[:, 1:5] *= 10.0 ** np.cumsum(draw.integers(-1, 2, 4_000) * (draw.random(4_000) < 0.01))[:, None]
    table[draw.random(4_000) < 0.95, 5:] = 0.0  # most minutes without a trade
    table[:, 5:] *= 10.0 ** draw.integers(-8, 9, (4_000, 1))
    found = features(columns(table))
    for feature in FLOW:
        known = found[feature.name][~np.isnan(found[feature.name])]
        assert len(known) > 500, feature.name
        assert known.min() >= feature.low - 1e-12, feature.name
        assert feature.high is None or known.max() <= feature.high * (1 + 1e-12), feature.name


def test_the_widest_a_channel_index_and_a_score_can_be() -> None:
    spike = np.full(1_441, 100.0)
    spike[-1] = 101.0
    minutes = minutes_of(1_441, high=spike, low=spike, close=spike, volume=spike)
    for name in ("cci_20", "volume_zscore_1440m", "stochastic_k_14", "money_flow_14", "plus_di_14"):
        assert newest(minutes, name) == pytest.approx(BOUNDS[name][1], rel=1e-9)


def test_units_of_price_and_volume_do_not_matter() -> None:
    table, other = rows(2_000), rows(2_000)
    other[:, 1:5] *= 1e-7
    other[:, [6, 9]] *= 3e-4
    other[:, [5, 8]] *= 3e3
    before, after = features(columns(table)), features(columns(other))
    for feature in FLOW:
        np.testing.assert_allclose(after[feature.name], before[feature.name], rtol=1e-9, atol=1e-9)


def test_the_edge_of_a_day_is_a_minute_like_any_other() -> None:
    minutes = seeded(2_000)
    later = features(replace(minutes, time=minutes.time + 7 * 3_600_000))
    for feature in FLOW:
        np.testing.assert_array_equal(later[feature.name], features(minutes)[feature.name])


def test_prices_that_stand_still() -> None:
    still = constant(MAX_WINDOW, volume=5.0)
    assert nulls(still) == NEEDS_MOVEMENT | {"volume_zscore_1440m"}
    row = features(still)
    for name in ("roc_10", "aroon_oscillator_25", "trix_15", "obv_slope_60m", "chaikin_money_flow_20"):
        assert row[name][-1] == 0.0
    assert row["corwin_schultz_60m"][-1] == 0.0
    assert row["taker_ratio_60m"][-1] == row["trade_size_ratio_15m_240m"][-1] == 1.0


def test_no_volume() -> None:
    table = rows(MAX_WINDOW)
    table[:, 5:] = 0.0
    assert nulls(columns(table)) == NEEDS_VOLUME


def test_a_quiet_last_minute_nulls_nothing() -> None:
    table = rows(MAX_WINDOW)
    table[-1, 1:5] = table[-2, 4]
    table[-1, 5:] = 0.0
    assert nulls(columns(table)) == set()


def test_an_hour_without_trades_leaves_what_looks_further_back() -> None:
    table = rows(MAX_WINDOW)
    table[-61:, 1:5] = table[-62, 4]
    table[-61:, 5:] = 0.0
    row = features(columns(table))
    gone = NEEDS_MOVEMENT | NEEDS_VOLUME
    longer = {"adx_14", "plus_di_14", "minus_di_14", "volume_zscore_1440m"}
    assert nulls(columns(table)) == gone - longer
    assert row["corwin_schultz_60m"][-1] == row["roc_10"][-1] == row["aroon_oscillator_25"][-1] == 0.0


def test_a_tenfold_jump() -> None:
    table = rows(MAX_WINDOW)
    table[-1, 1:5] = table[-2, 4] * np.array([1.0, 10.0, 1.0, 10.0])
    row = features(columns(table))
    assert nulls(columns(table)) == set()
    assert row["stochastic_k_14"][-1] == 1.0
    assert row["roc_10"][-1] == pytest.approx(9.0, rel=0.05)
    assert row["cci_20"][-1] == pytest.approx(20 / 3, rel=0.05)
    assert row["plus_di_14"][-1] == pytest.approx(1.0, abs=0.01)
    assert row["aroon_oscillator_25"][-1] > 0.0
    # 2 / 16 of 9 times the price, thrice averaged
    assert row["trix_15"][-1] == pytest.approx(9 / 8**3, rel=0.05)


def test_a_single_candle() -> None:
    assert nulls(seeded(1)) == {feature.name for feature in FLOW}

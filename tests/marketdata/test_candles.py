"""What may be stored, and how a batch is prepared."""

import math

import pytest

from marketdata.candles import candle_problem
from marketdata.models import Candle
from marketdata.store.candles import Row, prepare

GOOD = Candle("BTCUSDT", 1679616000000, 10.0, 12.0, 9.0, 11.0, 5.0, 55.0, 3, 2.0, 22.0)


def test_a_real_candle_has_no_problem() -> None:
    assert candle_problem(GOOD) is None


def test_a_minute_without_trades_has_no_problem() -> None:
    flat = Candle("BTCUSDT", 1679616000000, 10.0, 10.0, 10.0, 10.0, 0.0, 0.0, 0, 0.0, 0.0)
    assert candle_problem(flat) is None


@pytest.mark.parametrize(
    "change",
    [
        {"time": 1679616000001}, {"time": 0}, {"low": 10.5}, {"low": 0.0}, {"low": -1.0}, {"high": 10.5},
        {"high": math.inf}, {"high": math.nan}, {"low": math.nan}, {"open": math.nan}, {"close": math.nan},
        {"volume": -1.0}, {"volume": math.nan}, {"quote_volume": math.inf}, {"trades": -1},
        {"taker_buy_volume": math.nan}, {"taker_buy_quote_volume": -0.1},
    ],
)  # fmt: skip
def test_impossible_candles_are_named(change: dict[str, float]) -> None:
    assert candle_problem(GOOD._replace(**change)) is not None  # type: ignore[arg-type]


def test_prepare_sorts_keeps_the_last_of_a_key_and_sets_bad_ones_apart() -> None:
    later = GOOD._replace(time=GOOD.time + 60_000)
    better = GOOD._replace(close=10.5)
    bad = GOOD._replace(high=1.0)
    rows, refused = prepare([Row(later, 1), Row(GOOD, 2), Row(bad, 3), Row(better, 4)])
    assert [row.candle for row in rows] == [better, later]
    assert [candle for candle, _ in refused] == [bad]

"""The pure parts: decimals, intervals, framing, candles in the making."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulator.reader import DAY, MINUTE, START

from exchange_simulator.decimals import parse, text
from exchange_simulator.intervals import INTERVALS, end_of, start_of
from exchange_simulator.intrabar import Path
from exchange_simulator.streams.target import Target, parse_target
from exchange_simulator.streams.wire import text_message
from exchange_simulator.symbols import assets, spec_of


@given(st.integers(0, 10**19))
def test_decimals_survive_a_round_trip(value: int) -> None:
    spelled = text(value)
    assert parse(spelled) == value
    assert len(spelled.partition(".")[2]) == 8
    assert parse(spelled.rstrip("0").rstrip(".") or "0") == value


@given(st.sampled_from(INTERVALS), st.integers(1_500_000_000_000, 1_900_000_000_000), st.integers(-48, 56))
def test_an_interval_contains_its_moments(interval: str, stamp: int, quarters: int) -> None:
    offset = quarters * 15 * MINUTE
    start = start_of(interval, stamp, offset)
    end = end_of(interval, start, offset)
    assert start <= stamp < end
    assert start_of(interval, end - 1, offset) == start
    assert start_of(interval, end, offset) == end


def test_weeks_start_on_monday_and_months_on_the_first() -> None:
    week = datetime.datetime.fromtimestamp(start_of("1w", START) / 1000, datetime.UTC)
    month = datetime.datetime.fromtimestamp(start_of("1M", START) / 1000, datetime.UTC)
    assert (week.isoweekday(), week.hour, month.day) == (1, 0, 1)
    assert start_of("1d", START) == START // DAY * DAY


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_messages_are_framed_as_rfc_6455_says(size: int) -> None:
    wire = text_message(b"x" * size)
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    assert wire[0] == 0x81
    assert wire[1] & 0x80 == 0
    assert len(wire) == header + size


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/ws", Target(False, False, ())),
        ("/ws/", Target(False, False, ())),
        ("/ws/a@b/c@d/a@b", Target(False, False, ("a@b", "c@d"))),
        ("/stream?streams=a%40b%2Fc@d", Target(True, False, ("a@b", "c@d"))),
        ("/stream?streams=a@b&timeUnit=microsecond", Target(True, True, ("a@b",))),
        ("/wsx", None),
        ("/", None),
    ],
)
def test_targets(path: str, target: Target | None) -> None:
    assert parse_target(path) == target


@given(
    prices=st.lists(st.integers(1, 10**6), min_size=4, max_size=4),
    trades=st.integers(0, 10_000),
    lots=st.integers(1, 10**6),
    share=st.floats(0, 1),
    moments=st.lists(st.integers(1, 59_999), min_size=2, max_size=12, unique=True),
)
def test_a_candle_in_the_making_only_grows(
    prices: list[int], trades: int, lots: int, share: float, moments: list[int]
) -> None:
    spec = spec_of("BTCUSDT")
    low, first, last, high = sorted(prices)
    volume = max(lots, trades) * spec.lot if trades else 0
    taker = int(volume * share) // spec.lot * spec.lot
    row = [START, first * spec.tick, high * spec.tick, low * spec.tick, last * spec.tick, volume,
           START + MINUTE - 1, volume * first * spec.tick // 10**8, trades, taker, 0]  # fmt: skip
    path = Path(row, spec)
    before = path.candle(START + 1)
    for moment in sorted(moments):
        now = path.candle(START + moment)
        assert row[3] <= now[3] <= min(now[1], now[4])
        assert max(now[1], now[4]) <= now[2] <= row[2]
        assert now[2] >= before[2]
        assert now[3] <= before[3]
        assert before[5] <= now[5] <= volume
        assert before[8] <= now[8] <= trades
        assert now[9] <= now[5]
        before = now


def test_names_tell_base_and_quote() -> None:
    assert assets("BTCUSDT") == ("BTC", "USDT")
    assert assets("ETHBTC") == ("ETH", "BTC")
    assert assets("1000SATSFDUSD") == ("1000SATS", "FDUSD")

"""What the comparison with peers rests on: the market that is sent, and how a table is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.peers.judge import Verdict, judge
from benchmarks.peers.market import LOST, MINUTE_MS, T0, Market, exchange_info, kline, row

from marketdata.binance.messages import decode
from marketdata.models import KlineEvent

ROOT = Path(__file__).resolve().parents[2]


def test_every_candle_is_sent_once_a_minute_of_all_after_another() -> None:
    rows = Market(symbols=3, minutes=2).rows()
    assert [(r.symbol, (r.time - T0) // MINUTE_MS) for r in rows] == [
        ("S000USDT", 0), ("S001USDT", 0), ("S002USDT", 0), ("S000USDT", 1), ("S001USDT", 1), ("S002USDT", 1),
    ]  # fmt: skip


def test_a_frame_says_what_its_row_says() -> None:
    candle = row("S042USDT", 7)
    event = decode(kline(candle))
    assert isinstance(event, KlineEvent)
    assert event.final
    got = event.candle
    assert (got.symbol, got.time, got.open, got.high, got.low, got.close, got.volume) == candle


def test_symbols_are_listed_by_their_two_assets() -> None:
    (listed,) = json.loads(exchange_info(["S007USDT"]))["symbols"]
    assert (listed["baseAsset"], listed["quoteAsset"]) == ("S007", "USDT")


def test_what_is_stored_as_sent_is_right_whatever_the_order_and_the_dash() -> None:
    sent = Market(symbols=2, minutes=2).rows()
    stored = [r._replace(symbol=r.symbol.replace("USDT", "-USDT")) for r in reversed(sent)]
    assert judge(sent, stored) == Verdict(4, 0, 0, 0)
    assert str(judge(sent, stored)) == "all 4 right"


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda rows: rows[1:], Verdict(4, 1, 0, 0)),
        (lambda rows: [rows[0]._replace(close=0.1), *rows[1:]], Verdict(4, 0, 1, 0)),
        (lambda rows: [*rows, rows[0]], Verdict(4, 0, 0, 1)),
        (lambda rows: [*rows, row("S009USDT", 0)], Verdict(4, 0, 0, 1)),
    ],
)
def test_what_is_missing_wrong_or_extra_is_counted(change, verdict) -> None:  # type: ignore[no-untyped-def]
    sent = Market(symbols=2, minutes=2).rows()
    assert judge(sent, change(sent)) == verdict


@pytest.mark.parametrize("lock", sorted((ROOT / "benchmarks" / "peers").glob("*.lock")), ids=lambda p: p.name)
def test_the_peers_locks_are_hashed_and_name_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--hash=sha256:" in text


def test_a_troubled_stream_has_open_candles_repeats_and_a_lost_minute() -> None:
    market = Market(symbols=2, minutes=45, troubled=True)
    bursts = [[decode(frame) for frame in burst] for burst in market.bursts()]
    assert len(bursts) == 44
    events = [event for burst in bursts for event in burst if isinstance(event, KlineEvent)]
    final = [(e.candle.symbol, e.candle.time) for e in events if e.final]
    assert sum(not event.final for event in events) == 2 * 44
    assert len(final) - len(set(final)) == 2 * 4
    due = {(r.symbol, r.time) for r in market.rows()}
    assert due - set(final) == {("S000USDT", T0 + LOST * MINUTE_MS), ("S001USDT", T0 + LOST * MINUTE_MS)}


def test_a_stream_without_trouble_is_a_candle_a_sending() -> None:
    market = Market(symbols=2, minutes=3)
    assert [frames for frames in market.bursts()] == [[kline(candle)] for candle in market.rows()]

"""Streams per connection, names and messages."""

import json

import pytest

from data_feeder import connections
from data_feeder.ingest import plausible
from data_feeder.status import judge
from data_feeder.watchdog import silent_symbols
from marketdata.models import Candle, KlineEvent

T0 = 1679616000000


def test_no_connection_has_more_streams_than_the_exchange_allows() -> None:
    symbols = [f"S{n}USDT" for n in range(1500)]
    parts = connections.plan(symbols)
    assert [symbol for part in parts for symbol in part] == symbols
    assert all(len(connections.stream_names(part)) <= 1024 for part in parts)
    assert len(parts) == 3


def test_stream_names_are_lower_case_and_both_of_a_symbol_stay_together() -> None:
    assert connections.stream_names(["BTCUSDT"]) == ["btcusdt@kline_1m", "btcusdt@bookTicker"]


def test_subscriptions_cover_every_stream_once_with_positive_ids() -> None:
    names = [f"s{n}@kline_1m" for n in range(450)]
    messages = [json.loads(text) for text in connections.subscriptions(names)]
    assert [name for message in messages for name in message["params"]] == names
    assert [message["id"] for message in messages] == [1, 2, 3]
    assert max(len(message["params"]) for message in messages) <= 200


def test_silence_is_counted_per_stream() -> None:
    assert silent_symbols({"A": 100.0, "B": 40.0}, 120.0, 70) == ["B"]


def test_an_exchange_that_is_down_degrades_and_a_lost_database_is_unhealthy() -> None:
    fine = judge(
        database_connected=True, websocket_connected=True, silent=[], exchange_problem=None, buffered=0
    )
    down = judge(
        database_connected=True, websocket_connected=False, silent=[], exchange_problem="451", buffered=0
    )
    lost = judge(
        database_connected=False, websocket_connected=True, silent=[], exchange_problem=None, buffered=9
    )
    assert (fine.status, fine.http_status, fine.reasons) == ("healthy", 200, [])
    assert (down.status, down.http_status) == ("degraded", 200)
    assert (lost.status, lost.http_status) == ("unhealthy", 503)
    assert "9 candles" in lost.reasons[0]


def test_a_slow_database_and_failing_features_degrade() -> None:
    fine = {"database_connected": True, "websocket_connected": True, "silent": [], "exchange_problem": None}
    slow = judge(**fine, buffered=20, oldest_seconds=31.0)
    failing = judge(**fine, buffered=0, features_problem="an unexpected error")
    assert (slow.status, failing.status) == ("degraded", "degraded")
    assert "31 s" in slow.reasons[0]
    assert "features" in failing.reasons[0]


@pytest.mark.parametrize(
    ("time", "pushed", "true"),
    [
        (T0, T0 + 60_020, True),
        (T0, T0 + 41_646, True),
        (T0 + 1, T0 + 60_020, False),
        (T0, T0, False),
        (T0, T0 - 1, False),
        (0, T0, False),
        (T0, T0 + 60_020 + 3_600_000, False),
    ],
)
def test_a_frame_with_impossible_times_is_not_believed(time: int, pushed: int, true: bool) -> None:
    candle = Candle("B", time, 1, 1, 1, 1, 0, 0, 0, 0, 0)
    assert plausible(KlineEvent(pushed, True, candle)) is true

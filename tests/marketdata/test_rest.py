"""REST bodies and refusals, with recorded bodies where there are some."""

import json
from pathlib import Path

import pytest

from marketdata.binance import rest
from marketdata.errors import (
    DecodeError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    UnavailableError,
)

ROW = [
    1790935200000, "76421.07", "76421.08", "76408.35", "76408.36", "2.62202", 1790935259999, "200365.91", 835,
    "1.1", "84055.1", "0",
]  # fmt: skip


def test_klines_row() -> None:
    ((candle, close_time),) = rest.decode_klines(json.dumps([ROW]).encode(), "BTCUSDT")
    assert candle.time == 1790935200000
    assert candle.quote_volume == 200365.91
    assert candle.taker_buy_volume == 1.1
    assert close_time == 1790935259999


def test_klines_in_microseconds() -> None:
    micro = [ROW[0] * 1000, *ROW[1:6], ROW[6] * 1000 + 999, *ROW[7:]]
    assert rest.decode_klines(json.dumps([micro]).encode(), "B") == rest.decode_klines(
        json.dumps([ROW]).encode(), "B"
    )


@pytest.mark.parametrize("raw", [b"<html>", b'{"code":1}', b"[[1,2]]", b'[["x","1"]]', b"[null]", b"7"])
def test_what_is_not_klines_is_a_decode_error(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        rest.decode_klines(raw, "BTCUSDT")


def test_limits_are_read_from_exchange_info() -> None:
    body = {
        "serverTime": 1790935200000,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
        ],
        "symbols": [{"symbol": "BTCUSDT", "status": "TRADING"}],
    }
    info = rest.decode_exchange_info(json.dumps(body).encode())
    assert info.weight_limit == 6000
    assert info.instruments["BTCUSDT"].status == "TRADING"


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (429, {"retry-after": "7"}, b'{"code":-1003,"msg":"Too many"}', RateLimitedError),
        (418, {}, b'{"code":-1003,"msg":"banned until 1790935260000."}', RateLimitedError),
        (403, {}, b"<html>", RateLimitedError),
        (451, {}, b'{"code":0,"msg":"restricted location"}', RestrictedError),
        (400, {}, b'{"code":-1121,"msg":"Invalid symbol."}', RejectedError),
        (400, {}, b'{"code":-1001,"msg":"internal"}', UnavailableError),
        (404, {}, b"<html>not here</html>", RejectedError),
        (500, {}, b"", UnavailableError),
        (503, {}, b"[", UnavailableError),
    ],
)
def test_refusals(status: int, headers: dict[str, str], body: bytes, expected: type[Exception]) -> None:
    error = rest.refusal(status, headers, body, now_ms=1790935200000)
    assert type(error) is expected


def test_waiting_times() -> None:
    asked = rest.refusal(429, {"retry-after": "7"}, b"{}")
    banned = rest.refusal(
        418, {}, b'{"code":-1003,"msg":"banned until 1790935260000."}', now_ms=1790935200000
    )
    assert isinstance(asked, RateLimitedError)
    assert isinstance(banned, RateLimitedError)
    assert asked.retry_after == 7
    assert banned.retry_after == 60


def test_success_is_no_refusal() -> None:
    assert rest.refusal(200, {}, b"[]") is None


def test_restriction_says_what_to_set() -> None:
    error = rest.refusal(451, {}, b"")
    assert "BINANCE_API_URL=https://data-api.binance.vision" in str(error)
    assert "BINANCE_STREAM_URL=" in str(error)


def test_recorded_error_bodies(real_data: Path) -> None:
    samples = json.loads((real_data / "rest_bodies" / "rest_samples.json").read_text(encoding="utf-8"))
    refused = 0
    for sample in samples:
        error = rest.refusal(sample["http_status"], {}, sample["body"].encode())
        assert (error is None) == (sample["http_status"] == 200)
        refused += error is not None
    assert refused >= 3

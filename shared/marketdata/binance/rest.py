"""REST bodies to models, and refusals to errors (spot, rest-api.md and errors.md)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import orjson

from marketdata.binance.messages import milliseconds
from marketdata.errors import (
    DecodeError,
    ExchangeError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    UnavailableError,
)
from marketdata.models import MINUTE_MS, Candle

KLINES_PATH: Final = "/api/v3/klines"
TIME_PATH: Final = "/api/v3/time"
EXCHANGE_INFO_PATH: Final = "/api/v3/exchangeInfo"
KLINES_LIMIT: Final = 1000
"""Most rows of one klines answer; a larger limit is clamped without a word."""
DEFAULT_WEIGHT_LIMIT: Final = 6000
"""Request weight a minute and address, until exchangeInfo says otherwise."""

SIMULATOR_HEADER: Final = "x-exchange-simulator"
"""Every answer of the exchange simulator carries it, so that simulated candles are never taken for real."""

RESTRICTED_HELP: Final = (
    "the exchange does not serve this location (HTTP 451). Public data is usually still served by the"
    " market-data hosts: set BINANCE_API_URL=https://data-api.binance.vision and"
    " BINANCE_STREAM_URL=wss://data-stream.binance.vision"
)

# Bans without Retry-After: two minutes is the shortest (rest-api.md, "IP limits").
_BAN_SECONDS: Final = 120.0
_LIMIT_SECONDS: Final = 60.0
_WAF_SECONDS: Final = 300.0
# The longest ban there is; a longer answer is nobody's to obey.
_LONGEST_SECONDS: Final = 3 * 86_400.0
_INTERVAL_SECONDS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}
# What the database's columns hold: bigint, and times until the year 3000.
_LARGEST_COUNT: Final = 2**63 - 1
_LATEST_MS: Final = 32_503_680_000_000
_RETRIABLE_CODES: Final = frozenset({-1000, -1001, -1006, -1007, -1008, -1016})


class RestCandle(NamedTuple):
    """A klines row. It is final only once ``close_time`` (ms) lies before the exchange's own clock."""

    candle: Candle
    close_time: int


class Instrument(NamedTuple):
    """A symbol as exchangeInfo lists it."""

    symbol: str
    status: str


class ExchangeInfo(NamedTuple):
    """What a start needs of exchangeInfo: time in ms, instruments by symbol, weight a minute.

    ``requests_a_second`` is what ``RAW_REQUESTS`` allows on average, infinite where there is no such limit.
    """

    server_time: int
    instruments: dict[str, Instrument]
    weight_limit: int
    requests_a_second: float = math.inf


def _load(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"not JSON ({error})", raw) from None


def _whole(value: Any, largest: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= largest:
        raise ValueError(f"{value!r} is not a whole number from 0 to {largest}")
    return value


def _row(r: Any, symbol: str) -> RestCandle:
    return RestCandle(
        Candle(
            symbol,
            milliseconds(_whole(r[0], _LATEST_MS * 1000)),
            float(r[1]),
            float(r[2]),
            float(r[3]),
            float(r[4]),
            float(r[5]),
            float(r[7]),
            _whole(r[8], _LARGEST_COUNT),
            float(r[9]),
            float(r[10]),
        ),
        milliseconds(_whole(r[6], _LATEST_MS * 1000)),
    )


def decode_klines(raw: bytes, symbol: str) -> list[RestCandle]:
    """Return the rows of a klines answer in the exchange's order (ascending).

    Raises ``DecodeError`` when it is not one.
    """
    rows = _load(raw)
    if not isinstance(rows, list):
        raise DecodeError("not a klines answer (not a list of rows)", raw)
    try:
        return [_row(r, symbol) for r in rows]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"not a klines answer ({error!r})", raw) from None


def check_klines(rows: Sequence[RestCandle], start: int, end: int | None) -> list[RestCandle]:
    """Return the rows of a 1m answer to ``[start, end)`` (Unix ms), each once.

    Rows carry no symbol and no interval: what can be seen of an answer to another question is rows
    outside the range asked for, out of order, longer than a minute, or two that differ for one open
    time. Each raises ``DecodeError``. Opens off the minute are the exchange's own (2017, 2018) and stay;
    so does one of two equal rows.
    """
    checked: list[RestCandle] = []
    for row in rows:
        opens = row.candle.time
        if opens < start or (end is not None and opens >= end):
            raise DecodeError(f"a row that opens at {opens}, outside [{start}, {end})")
        if row.close_time - opens >= MINUTE_MS:
            raise DecodeError(f"a row from {opens} to {row.close_time}, longer than a minute")
        if checked and opens <= checked[-1].candle.time:
            if row == checked[-1]:
                continue
            raise DecodeError(f"a row that opens at {opens} after {checked[-1].candle.time}: out of order")
        checked.append(row)
    return checked


def decode_time(raw: bytes) -> int:
    """Return the server's time in Unix milliseconds. Raises ``DecodeError``."""
    try:
        return milliseconds(int(_load(raw)["serverTime"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"not a time answer ({error!r})", raw) from None


def decode_exchange_info(raw: bytes) -> ExchangeInfo:
    """Return the listed instruments. Raises ``DecodeError``."""
    body = _load(raw)
    try:
        limits = [
            int(limit["limit"])
            for limit in body["rateLimits"]
            if limit["rateLimitType"] == "REQUEST_WEIGHT"
            and limit["interval"] == "MINUTE"
            and limit["intervalNum"] == 1
        ]
        requests = [
            int(limit["limit"]) / (_INTERVAL_SECONDS[limit["interval"]] * int(limit["intervalNum"]))
            for limit in body["rateLimits"]
            if limit["rateLimitType"] == "RAW_REQUESTS"
        ]
        if min(limits, default=1) <= 0 or min(requests, default=1) <= 0:
            raise ValueError("a limit that allows nothing")
        return ExchangeInfo(
            milliseconds(int(body["serverTime"])),
            {s["symbol"]: Instrument(s["symbol"], s["status"]) for s in body["symbols"]},
            min(limits, default=DEFAULT_WEIGHT_LIMIT),
            min(requests, default=math.inf),
        )
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"not an exchangeInfo answer ({error!r})", raw) from None


def answered_by(headers: Mapping[str, str]) -> str:
    """Return whose answer it is, ``binance`` or ``simulator``; header names are lower-case."""
    return "simulator" if SIMULATOR_HEADER in headers else "binance"


def used_weight(headers: Mapping[str, str]) -> int | None:
    """Return this minute's used request weight as the answer's headers say, None where they don't."""
    text = headers.get("x-mbx-used-weight-1m", "")
    return int(text) if text.isdigit() else None


def _http_date(text: str) -> float:
    """Return the Unix seconds of a header's date, 0 where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _retry_after(headers: Mapping[str, str], message: str, default: float, now_ms: int) -> float:
    text = headers.get("retry-after", "").strip()
    # The answer's own time comes first: the newest exchange time we know may be hours old.
    now = _http_date(headers.get("date", "")) or now_ms / 1000
    banned = re.search(r"banned until ([0-9]{13})\b", message)
    until = _http_date(text) or (int(banned[1]) / 1000 if banned else 0.0)
    if re.fullmatch(r"[0-9]{1,9}", text):
        seconds = float(text)
    elif until and now:
        seconds = max(until - now, 1.0)
    else:
        seconds = default
    return min(seconds, _LONGEST_SECONDS)


def refusal(status: int, headers: Mapping[str, str], raw: bytes, *, now_ms: int = 0) -> ExchangeError | None:
    """Return the error an answer stands for, None for 200.

    ``headers`` have lower-case names. ``now_ms`` is the exchange's time, for bans that name their
    end and send neither ``Retry-After`` nor ``Date``. A ``RejectedError`` without a code is not the
    exchange's: something else answers at its address.
    """
    if status == 200:
        return None
    code, message = None, raw[:200].decode("utf-8", "replace")
    try:
        body = orjson.loads(raw)
        if isinstance(body, dict) and isinstance(body.get("code"), int):
            code, message = body["code"], str(body.get("msg", ""))
    except orjson.JSONDecodeError:
        message = f"not JSON: {message!r}"
    if 300 <= status < 400 and "location" in headers:
        message = f"a redirect to {headers['location'][:200]}, which is not followed"
    text = f"HTTP {status}{f' ({code})' if code is not None else ''}: {message}"
    if status in (429, 418) or code == -1003:
        default = _BAN_SECONDS if status == 418 else _LIMIT_SECONDS
        return RateLimitedError(
            text, status=status, code=code, retry_after=_retry_after(headers, message, default, now_ms)
        )
    if status == 403:
        return RateLimitedError(
            text, status=status, code=code, retry_after=_retry_after(headers, message, _WAF_SECONDS, now_ms)
        )
    if status == 451:
        return RestrictedError(RESTRICTED_HELP, status=status, code=code)
    if status >= 500 or code in _RETRIABLE_CODES:
        return UnavailableError(text, status=status, code=code)
    return RejectedError(text, status=status, code=code)

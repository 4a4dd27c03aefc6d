"""`/api/v3/klines` and `/api/v3/uiKlines`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exchange_simulator.clock import MarketClock
from exchange_simulator.faults.requests import Question
from exchange_simulator.intervals import INTERVALS
from exchange_simulator.market import Market, Span
from exchange_simulator.rest import errors
from exchange_simulator.rest.params import Params
from exchange_simulator.rows import Row

_KNOWN = ("symbol", "interval", "startTime", "endTime", "timeZone", "limit")

Hidden = Callable[[str, int, int], list[Span]]
Rearranged = Callable[[Question, list[Row]], list[Row]]


def klines(
    query: Mapping[str, str],
    market: Market,
    clock: MarketClock,
    hidden: Hidden,
    rearranged: Rearranged,
    microseconds: bool,
) -> bytes:
    """The answer's JSON. Raises ApiError."""
    params = Params(query, _KNOWN)
    symbol = params.symbol()
    interval = params.required("interval")
    start, end = params.time("startTime"), params.time("endTime", last=True)
    offset_ms = params.time_zone()
    limit = params.limit(500, 1000)
    if symbol not in market.symbols:
        raise errors.invalid_symbol()
    if interval not in INTERVALS:
        raise errors.invalid_interval()
    now = clock.now_ms()
    last = now if end is None else min(end, now)
    rows = market.rows(
        symbol, interval, now, start=start, end=end, limit=limit,
        hidden=hidden(symbol, start or 0, last), offset_ms=offset_ms,
    )  # fmt: skip
    return encode(rearranged(Question(symbol, interval, start, last), rows), microseconds)


def encode(rows: list[Row], microseconds: bool) -> bytes:
    """Twelve elements a row; the last is ignored by everyone."""
    scale, tail = (1000, 999) if microseconds else (1, 0)
    return (
        "["
        + ",".join(
            f'[{t * scale},"{o}","{h}","{low}","{c}","{v}",{end * scale + tail},"{q}",{n},"{tb}","{tq}","0"]'
            for t, o, h, low, c, v, end, q, n, tb, tq in rows
        )
        + "]"
    ).encode()

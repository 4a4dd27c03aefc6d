"""The values that travel through the pipeline: candles, kline events and quotes."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

MINUTE_MS: Final = 60_000


class Source(StrEnum):
    """Where a stored candle came from. REST and archive beat the stream, never the reverse."""

    STREAM = "stream"
    REST = "rest"
    ARCHIVE = "archive"


class Candle(NamedTuple):
    """One final 1-minute candle.

    ``time`` is the minute's open in Unix milliseconds (UTC), a multiple of 60,000. Prices are in
    the quote asset, ``volume`` and ``taker_buy_volume`` in the base asset, the two ``quote``
    volumes in the quote asset. ``trades`` counts trades; 0 means the market was open and nothing
    traded.
    """

    symbol: str
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_buy_volume: float
    taker_buy_quote_volume: float


class KlineEvent(NamedTuple):
    """One ``kline`` frame: the candle as it stands at ``event_time``.

    ``event_time`` is the exchange's push time ``E`` in Unix milliseconds. ``final`` is the frame's
    ``x``: only then may the candle be stored.
    """

    event_time: int
    final: bool
    candle: Candle


class Quote(NamedTuple):
    """One ``bookTicker`` frame. Spot's carries no time: it is stamped by who receives it."""

    symbol: str
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    update_id: int


class ServerShutdown(NamedTuple):
    """The exchange is about to drop this connection: open the next one now."""

    event_time: int


class Acknowledgement(NamedTuple):
    """The answer to a control message: ``error`` is None when the exchange parsed it.

    A null result proves the request was parsed, not that the stream exists.
    """

    request_id: int | str | None
    error: str | None

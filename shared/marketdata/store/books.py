"""Writing the minutes of the order book's top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from marketdata.database import Connection
from marketdata.reach import MAX_WINDOW
from marketdata.store.queries import QUERIES


class BookMinute(NamedTuple):
    """One minute of ``bookTicker``: last quote, mean spread (basis points), mean imbalance, frames."""

    symbol: str
    time: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float
    spread_bps: float
    imbalance: float
    updates: int


async def write(connection: Connection, minutes: Sequence[BookMinute], *, known_at: int) -> None:
    """Write book minutes; one that is stored already stays. ``known_at`` is exchange time, ms.

    Write them before their candles: the feature rows of a candle stored already become stale.
    """
    if minutes:
        await connection.execute(QUERIES["write_books"], *zip(*minutes, strict=True), known_at, MAX_WINDOW)

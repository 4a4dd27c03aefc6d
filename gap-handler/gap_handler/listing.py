"""When the exchange's record of a symbol begins, asked once and kept in ``symbols``."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import asyncpg

from gap_handler.connections import borrow
from gap_handler.exchange import Exchange
from gap_handler.queries import QUERIES
from marketdata.log import get_logger
from marketdata.minutes import ceil_minute, isoformat

log = get_logger(__name__)


class Listings:
    """First klines, by symbol: from the database, else from the exchange."""

    def __init__(self, pool: asyncpg.Pool[Any], exchange: Exchange) -> None:
        self._pool = pool
        self._exchange = exchange
        self._known: dict[str, int] = {}
        self._asking = defaultdict[str, asyncio.Lock](asyncio.Lock)

    async def first_kline(self, symbol: str) -> int | None:
        """Return the open (Unix ms) of the exchange's first minute of ``symbol``; None while it has none."""
        async with self._asking[symbol]:
            if symbol not in self._known and (first := await self._learn(symbol)) is not None:
                self._known[symbol] = first
        return self._known.get(symbol)

    async def _learn(self, symbol: str) -> int | None:
        async with borrow(self._pool) as connection:
            first: int | None = await connection.fetchval(QUERIES["listing"], symbol)
        if first is None:
            rows = await self._exchange.klines(symbol, start=0, limit=1)
            if not rows:
                return None
            first = ceil_minute(rows[0].candle.time)
            async with borrow(self._pool) as connection:
                await connection.execute(QUERIES["set_first_kline"], symbol, first)
            log.info("first_kline_found", symbol=symbol, first_kline=isoformat(first))
        return first

"""Keeps the metrics fresh, and the exchange's state known while there is nothing to fetch."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from gap_handler.connections import borrow
from gap_handler.exchange import Exchange
from gap_handler.probe import Probe
from gap_handler.queries import QUERIES
from gap_handler.tasks import Idle
from marketdata.errors import RejectedError
from marketdata.log import get_logger

log = get_logger(__name__)

EVERY_SECONDS: Final = 10.0
_OK_KEEPS_SECONDS: Final = 15.0
_LIMITS_KEEP_SECONDS: Final = 3600.0
_FAILURE_KEEPS_SECONDS: Final = 20.0


class Monitor:
    """Two tasks' steps: one looks at the ledger, one at the exchange."""

    def __init__(
        self, pool: asyncpg.Pool[Any], probe: Probe, exchange: Exchange, fallback_symbol: str
    ) -> None:
        self._pool = pool
        self._probe = probe
        self._exchange = exchange
        self._symbol = fallback_symbol

    async def look_at_ledger(self) -> None:
        """Bring the metrics of gaps and completeness up to date."""
        await self._probe.look(5.0)

    async def look_at_exchange(self) -> Idle | None:
        """Ask for the limits now and every hour, and for the time whenever the last answer is old."""
        state = self._exchange.state
        if self._exchange.pool.paused_seconds > 0:
            return Idle.IDLE
        if self._exchange.pool.limits_age > _LIMITS_KEEP_SECONDS:
            async with borrow(self._pool) as connection:
                symbol = await connection.fetchval(QUERIES["any_symbol"]) or self._symbol
            try:
                await self._exchange.read_limits(symbol)
            except RejectedError as error:
                log.warning("exchange_limits_unknown", symbol=symbol, reason=str(error))
        elif state.age > (_OK_KEEPS_SECONDS if state.ok else _FAILURE_KEEPS_SECONDS):
            await self._exchange.server_time()
        else:
            return Idle.IDLE
        return None

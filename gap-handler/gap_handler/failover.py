"""Whose answers are used, and from which host: what the database has to say and to remember of it."""

from __future__ import annotations

from typing import Any

import asyncpg

from gap_handler.connections import borrow
from marketdata.database import TRANSIENT
from marketdata.log import get_logger
from marketdata.store import ledger, symbols

log = get_logger(__name__)


class FailoverLedger:
    """Writes a ``failover`` event; a database that is away costs the event, not the candles."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def __call__(self, left: str, taken: str, reason: str) -> None:
        """Note that REST went from ``left`` to ``taken``."""
        try:
            async with borrow(self._pool, 5) as connection:
                await ledger.note(
                    connection,
                    "failover",
                    None,
                    detail={"service": "gap_handler", "from": left, "to": taken, "reason": reason},
                )
        except TRANSIENT as error:
            log.warning("failover_not_noted", left=left, taken=taken, reason=str(error))


class ExchangeGuard:
    """Ties the database to the exchange that answers; another one's answers are refused."""

    def __init__(self, pool: asyncpg.Pool[Any], setting: str = "BINANCE_API_URL") -> None:
        self._pool = pool
        self._setting = setting
        self._accepted: set[str] = set()

    async def __call__(self, who: str) -> None:
        """Raise ``WrongExchangeError`` when the database holds candles of another than ``who``.

        Whoever was accepted once stays so: a database never changes hands.
        """
        if who in self._accepted:
            return
        async with borrow(self._pool, 5) as connection:
            await symbols.claim_exchange(connection, who, setting=self._setting)
        self._accepted.add(who)

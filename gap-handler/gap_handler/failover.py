"""Changes of host, written to the ledger."""

from __future__ import annotations

from typing import Any

import asyncpg

from gap_handler.connections import borrow
from marketdata.database import TRANSIENT
from marketdata.log import get_logger
from marketdata.store import ledger

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

"""Minutes that nobody stores: a feeder that is gone reports nothing, so somebody else has to look."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from gap_handler.connections import borrow
from gap_handler.nudge import Nudge
from gap_handler.queries import QUERIES
from gap_handler.tasks import Idle
from marketdata import metrics
from marketdata.clock import MarketClock
from marketdata.log import get_logger
from marketdata.minutes import floor_minute
from marketdata.models import MINUTE_MS
from marketdata.store import ledger
from marketdata.store.ledger import Gap

log = get_logger(__name__)

EVERY_SECONDS: Final = 15.0
"""A minute is owed when it had ended a look ago: a feeder that lives has stored or reported it by then."""
SILENT_MS: Final = 3 * MINUTE_MS
"""Of market time without a candle from any feeder: then the symbol is named."""
_NAMED_MOST: Final = 10


class Silence:
    """Opens gaps behind the newest candle of every symbol, whichever feeder should have brought it.

    The exchange's time as this process hears it moves the market's clock, too: while all feeders are gone it
    would stand, and nothing would be owed. It stands while nobody hears the exchange.
    """

    def __init__(self, pool: asyncpg.Pool[Any], market: MarketClock, nudge: Nudge) -> None:
        self._pool = pool
        self._market = market
        self._nudge = nudge
        self._now = 0
        self._unheard: dict[str, int] = {}
        self._silent: list[str] = []

    @property
    def problem(self) -> str | None:
        """The symbols that no feeder brings, in words for ``/health``; None where there are none."""
        if not self._silent:
            return None
        names = ", ".join(self._silent[:_NAMED_MOST]) + (" …" if len(self._silent) > _NAMED_MOST else "")
        return (
            f"no feeder brings {len(self._silent)} of the symbols: {names};"
            " their minutes are fetched by REST, late and without quotes (is every shard running?)"
        )

    async def step(self) -> Idle | None:
        """Look once: record what is owed, and note who is silent."""
        async with borrow(self._pool) as connection:
            if self._market.now_ms:
                await connection.execute(QUERIES["advance_clock"], self._market.now_ms)
            now = await connection.fetchval(QUERIES["market"])
            before, self._now = self._now, now or 0
            if not before or self._now <= before:
                return Idle.IDLE
            edge = floor_minute(before)
            seen = await connection.fetch(QUERIES["unheard"], floor_minute(self._now) - SILENT_MS, edge)
            gaps: list[Gap] = []
            try:
                for record in seen:
                    owed_from = record["owed_from"]
                    if owed_from is not None and owed_from < edge:
                        gaps += await ledger.record_missing(
                            connection, record["symbol"], owed_from, edge, "unheard", tell=False
                        )
            finally:  # those before an error are in the ledger
                ledger.log_gaps(gaps, "unheard")
        if gaps:
            self._nudge.give()
        self._note([record["symbol"] for record in seen if not record["heard"]])
        return None

    def _note(self, unheard: list[str]) -> None:
        # A symbol that is new has its time to be heard for the first time.
        self._unheard = {symbol: self._unheard.get(symbol, self._now) for symbol in unheard}
        silent = [symbol for symbol, since in self._unheard.items() if self._now - since >= SILENT_MS]
        if silent != self._silent:
            log.warning("symbols_unheard", symbols=silent[:_NAMED_MOST], count=len(silent))
        self._silent = silent
        metrics.SYMBOLS_UNHEARD.set(len(silent))

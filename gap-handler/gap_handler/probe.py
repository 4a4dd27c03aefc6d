"""A look at the database that never waits longer than it is allowed to."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import asyncpg

from gap_handler.completeness import History
from gap_handler.connections import borrow
from gap_handler.queries import QUERIES
from marketdata import metrics


class Seen(NamedTuple):
    """What the database says. ``market_now`` is Unix ms, None before the exchange was first heard."""

    server_kind: str
    market_now: int | None
    open_gaps: int
    provisional_outages: int
    minutes_missing: int
    histories: list[History]


class Probe:
    """One question at a time: a database that hangs is not asked again until it has answered."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._asking: asyncio.Task[Seen] | None = None

    async def look(self, seconds: float) -> Seen | str:
        """Return what the database says within ``seconds``, or why it does not, in words."""
        if self._asking is None or self._asking.done():
            # An answer that came after everybody had stopped waiting for it is old by now.
            self._asking = asyncio.create_task(self._ask())
        asking = self._asking
        done, _ = await asyncio.wait({asking}, timeout=seconds)
        if not done:
            return f"no answer within {seconds:.1f} s"
        if self._asking is asking:
            self._asking = None
        error = asking.exception() if not asking.cancelled() else TimeoutError("the question was dropped")
        return asking.result() if error is None else f"{type(error).__name__}: {error}".rstrip(": ")

    async def close(self) -> None:
        """Drop a question that is still under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking}, timeout=1)

    async def _ask(self) -> Seen:
        async with borrow(self._pool, 5) as connection:
            record = await connection.fetchrow(QUERIES["health"], timeout=10)
            histories = [History(*row) for row in await connection.fetch(QUERIES["completeness"], timeout=10)]
        assert record is not None  # an aggregate always has a row
        seen = Seen(
            record["server_kind"],
            record["now"],
            record["open_gaps"],
            record["provisional_outages"],
            sum(history.missing for history in histories),
            histories,
        )
        metrics.OPEN_GAPS.set(seen.open_gaps)
        for history in histories:
            metrics.HISTORY_MISSING.labels(history.symbol).set(history.missing)
            if history.share is not None:
                metrics.HISTORY_COMPLETENESS.labels(history.symbol).set(history.share)
        return seen

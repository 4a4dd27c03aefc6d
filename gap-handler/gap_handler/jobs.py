"""Backfills as their callers see them: rows of the ledger, written on request and read back."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal, NamedTuple

import asyncpg
import orjson

from gap_handler import demand as demands
from gap_handler.connections import borrow
from gap_handler.demand import Demand, Limits
from gap_handler.exchange import Exchange
from gap_handler.nudge import Nudge
from gap_handler.queries import QUERIES
from marketdata.clock import MarketClock
from marketdata.errors import DatabaseUnavailableError, DecodeError, ExchangeError
from marketdata.minutes import floor_minute, isoformat
from marketdata.store import ledger

_EXCHANGE_SECONDS: Final = 3.0
_QUERY_SECONDS: Final = 20.0


class Accepted(NamedTuple):
    """``status``: ``open`` (new), ``joined`` (an open gap has it), ``completed`` (nothing to do)."""

    id: int
    status: Literal["open", "joined", "completed"]


class Jobs:
    """Takes requests and reports on them."""

    def __init__(
        self, pool: asyncpg.Pool[Any], exchange: Exchange, market: MarketClock, nudge: Nudge
    ) -> None:
        self._pool = pool
        self._exchange = exchange
        self._market = market
        self._nudge = nudge

    async def submit(self, demand: Demand) -> Accepted:
        """Write or join a row of the ledger.

        Raises ``RefusedError``, ``DatabaseUnavailableError`` while the exchange's time is not known
        yet, and asyncpg's errors.
        """
        async with asyncio.timeout(_QUERY_SECONDS):
            return await self._submit(demand)

    async def _submit(self, demand: Demand) -> Accepted:
        demands.check(demand, await self._limits(demand))
        span = orjson.dumps([isoformat(demand.start), isoformat(demand.end)]).decode()
        async with borrow(self._pool, 5) as connection, connection.transaction():
            gaps = await ledger.record_missing(
                connection, demand.symbol, demand.start, demand.end, "request", reopen=True
            )
            joined = await self._hasten(connection, demand)
            if gaps:
                ids = [gap.id for gap in gaps]
                await connection.execute(QUERIES["mark_requested"], ids, ids[0], span)
                accepted = Accepted(ids[0], "open")
            elif joined is not None:
                accepted = Accepted(joined, "joined")
            else:
                done = await connection.fetchval(
                    QUERIES["insert_completed"], demand.symbol, demand.start, demand.end, span
                )
                accepted = Accepted(done, "completed")
        self._nudge.give()
        return accepted

    async def _hasten(self, connection: asyncpg.Connection[Any], demand: Demand) -> int | None:
        """Return the newest open gap in the range; those that wait are tried now, unless we are paused."""
        if self._exchange.pool.paused_seconds <= 0:
            await connection.execute(QUERIES["hasten_waiting"], demand.symbol, demand.start, demand.end)
        joined: int | None = await connection.fetchval(
            QUERIES["overlapping_gap"], demand.symbol, demand.start, demand.end
        )
        return joined

    async def status(self, job_id: int) -> dict[str, Any] | None:
        """Return a backfill's state; None where there is no such one."""
        async with borrow(self._pool, 5) as connection:
            record = await connection.fetchrow(QUERIES["job"], job_id, timeout=_QUERY_SECONDS)
        if record is None:
            return None
        waiting_for = record["waiting_for"]
        if waiting_for is None and record["status"] == "open" and self._exchange.pool.paused_seconds > 0:
            waiting_for = self._exchange.state.reason
        return {
            "id": job_id,
            "symbol": record["symbol"],
            "start": isoformat(record["starts"]),
            "end": isoformat(record["ends"]),
            "status": record["status"],
            "candles_missing": record["candles_missing"],
            "candles_recovered": record["candles_recovered"],
            "outage_minutes": record["outage_minutes"],
            "attempts": record["attempts"],
            "waiting_for": waiting_for if record["status"] != "completed" else None,
        }

    async def _limits(self, demand: Demand) -> Limits | None:
        limits = await self._read_limits(demand.symbol)
        if limits is not None and demand.end > floor_minute(limits.now):
            # The market's clock is only as new as the last answer: ask before calling it the future.
            try:
                async with asyncio.timeout(_EXCHANGE_SECONDS):
                    await self._exchange.server_time()
            except (ExchangeError, DecodeError, TimeoutError):
                pass
            limits = limits._replace(now=max(limits.now, self._market.now_ms))
        if limits is not None and limits.now == 0:
            raise DatabaseUnavailableError("the exchange's time is not known yet: try again shortly")
        return limits

    async def _read_limits(self, symbol: str) -> Limits | None:
        async with borrow(self._pool, 5) as connection:
            record = await connection.fetchrow(QUERIES["limits_of"], symbol)
        if record is None:
            return None
        now = max(record["now"] or 0, self._market.now_ms)
        return Limits(now, record["history"], record["first_kline"], record["expected_until"])

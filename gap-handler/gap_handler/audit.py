"""The nightly audit: stored candles against the exchange's own record of the same minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg

from gap_handler import evidence, plan
from gap_handler.comparison import Comparison, compare, either
from gap_handler.connections import borrow
from gap_handler.exchange import Exchange
from gap_handler.nudge import Nudge
from gap_handler.plan import Run
from gap_handler.queries import QUERIES
from gap_handler.verdict import verdict
from marketdata import metrics
from marketdata.binance.rest import KLINES_LIMIT, RestCandle
from marketdata.clock import Clock, MarketClock
from marketdata.database import Connection
from marketdata.errors import DecodeError, ExchangeError
from marketdata.log import get_logger
from marketdata.minutes import floor_minute, isoformat
from marketdata.models import MINUTE_MS, Source
from marketdata.store import candles, ledger
from marketdata.store.ledger import Gap

log = get_logger(__name__)

EVERY_SECONDS: Final = 30.0
_YIELD_SECONDS: Final = 2.0
_POSTPONE_SECONDS: Final = 60.0


class Report(NamedTuple):
    """An audit in minutes: compared, corrected, missing here, and not (or no longer) at the exchange."""

    compared: int
    corrected: int
    missing: int
    unconfirmed: int

    def plus(self, other: Report) -> Report:
        """Return the sum of two reports."""
        return Report(*(one + two for one, two in zip(self, other, strict=True)))


class Audit:
    """Compares whole days once a night, and any range on request.

    What differs is corrected, and the old numbers stay in the ledger as a ``revision``. What is missing
    here becomes a gap, even inside a confirmed outage. What the exchange lacks is kept and noted once.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        exchange: Exchange,
        market: MarketClock,
        clock: Clock,
        nudge: Nudge,
        *,
        days: int,
        on_corrected: Callable[[Gap], Awaitable[None]] | None = None,
    ) -> None:
        self._pool = pool
        self._exchange = exchange
        self._market = market
        self._clock = clock
        self._nudge = nudge
        self._days = days
        self._on_corrected = on_corrected
        self._postponed: dict[str, float] = {}

    async def step(self) -> None:
        """Audit every symbol that is due. One whose exchange fails is left for later, the others go on."""
        async with borrow(self._pool) as connection:
            due = await connection.fetch(QUERIES["audit_due"], self._days)
        for record in due:
            symbol = record["symbol"]
            if self._postponed.get(symbol, 0.0) > self._clock.monotonic():
                continue
            try:
                await self._night(symbol, record["starts"], record["until"])
            except (ExchangeError, DecodeError) as error:
                judged = verdict(error, 1)
                seconds = max(judged.retry_seconds, _POSTPONE_SECONDS)
                self._postponed[symbol] = self._clock.monotonic() + seconds
                log.warning(
                    "audit_postponed", symbol=symbol, reason=judged.reason, retry_seconds=round(seconds)
                )

    async def audit(self, symbol: str, start: int, end: int) -> Report | None:
        """Compare the expected final minutes of ``[start, end)`` (Unix ms).

        None while somebody else audits ``symbol``. Raises ``ExchangeError``, ``DecodeError`` and the
        database's errors; what was corrected by then stays.
        """
        async with self._alone(symbol) as connection:
            if connection is None:
                return None
            return await self._pages(connection, symbol, floor_minute(start), floor_minute(end))

    async def _night(self, symbol: str, start: int, until: int) -> None:
        async with self._alone(symbol) as connection:
            if connection is None or await connection.fetchval(QUERIES["is_audited"], symbol, until):
                return
            await self._pages(connection, symbol, start, until)
            await connection.execute(QUERIES["set_audited"], symbol, until)

    @asynccontextmanager
    async def _alone(self, symbol: str) -> AsyncIterator[Connection | None]:
        """Lend the connection that holds the symbol's lock, None where another one does.

        All writing goes through it: whoever was cut off, and may have been followed by another, cannot
        write an old answer over a newer one. Giving the connection back frees the lock.
        """
        async with borrow(self._pool) as connection:
            locked = await connection.fetchval(QUERIES["lock_audit"], symbol)
            yield connection if locked else None

    async def _pages(self, connection: Connection, symbol: str, start: int, end: int) -> Report:
        report = Report(0, 0, 0, 0)
        within = await connection.fetchrow(QUERIES["expected_within"], symbol, start, end)
        if within is None or within["starts"] is None:
            return report
        self._market.advance(within["now"])
        start = within["starts"]
        end = min(within["ends"], floor_minute(self._market.now_ms - plan.SETTLING_MS))
        for begin in range(start, end, KLINES_LIMIT * MINUTE_MS):
            page = Run(begin, min(begin + KLINES_LIMIT * MINUTE_MS, end))
            await self._give_way(connection)
            report = report.plus(await self._page(connection, symbol, page))
        log.info(
            "audit_done",
            symbol=symbol,
            start=isoformat(start),
            end=isoformat(end),
            **report._asdict(),
        )
        return report

    async def _give_way(self, connection: Connection) -> None:
        """Return once no repair waits for a worker and no pause binds the exchange."""
        while await connection.fetchval(QUERIES["work_waits"]):
            await self._clock.sleep(_YIELD_SECONDS)
        await self._exchange.opened()

    async def _page(self, connection: Connection, symbol: str, page: Run) -> Report:
        rows = await self._ask(symbol, page)
        found = await self._compare(connection, symbol, page, rows)
        if found.unconfirmed:
            # Nobody is accused by one answer: it may have come from a copy that lags.
            rows = either(rows, await self._ask(symbol, page))
        corrected, unconfirmed = 0, 0
        async with connection.transaction():
            found = await self._compare(connection, symbol, page, rows)
            corrected = await self._correct(connection, symbol, page, found)
            for run in found.missing:
                gaps = await ledger.record_missing(
                    connection, symbol, run.start, run.end, "audit", reopen=True
                )
                if gaps:
                    self._nudge.give()
            if found.unconfirmed:
                unconfirmed = await connection.fetchval(
                    QUERIES["note_unconfirmed"], symbol, found.unconfirmed
                )
        report = Report(len(found.shared), corrected, plan.minutes_of(found.missing), len(found.unconfirmed))
        metrics.AUDITED_CANDLES.inc(report.compared)
        for kind, minutes in (
            ("corrected", corrected),
            ("missing", report.missing),
            ("unconfirmed", unconfirmed),
        ):
            metrics.AUDIT_DIFFERENCES.labels(kind).inc(minutes)
        if corrected and self._on_corrected is not None:
            await self._on_corrected(Gap(0, symbol, page.start, page.end))
        return report

    async def _ask(self, symbol: str, page: Run) -> list[RestCandle]:
        rows = await self._exchange.klines(symbol, start=page.start, end=page.end)
        return plan.usable(rows, page, self._market.now_ms)

    async def _compare(
        self, connection: Connection, symbol: str, page: Run, rows: list[RestCandle]
    ) -> Comparison:
        stored = await connection.fetch(QUERIES["stored_minutes"], symbol, page.start, page.end)
        return compare(rows, {record["time"] for record in stored})

    async def _correct(self, connection: Connection, symbol: str, page: Run, found: Comparison) -> int:
        """Write what both have (equal rows change nothing), note new impossible rows; return the changes."""
        refused = await evidence.once(connection, symbol, page, found.refused)
        known_at = self._market.now_ms
        rows = [candles.Row(row.candle, known_at) for row in (*found.shared, *refused)]
        return (await candles.write(connection, rows, source=Source.REST)).changed

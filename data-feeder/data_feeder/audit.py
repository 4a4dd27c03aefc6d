"""Audits: expected minutes that nobody accounts for become gaps, whatever went wrong before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from data_feeder.writer import Writer
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock
from marketdata.database import COMMAND_TIMEOUT, TRANSIENT, Connection, connect, explain
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger
from marketdata.store.ledger import Gap

log = get_logger(__name__)

AUDIT_SECONDS: Final = 3600.0


def audited_end(expected_end: int, committed: int) -> int:
    """Return where an audit ends: after the last whole minute, but not past the newest one committed.

    What lies beyond is still in this process's hands. All are Unix milliseconds.
    """
    return min(expected_end, committed + MINUTE_MS)


class Auditor:
    """Looks over the whole history at start, after every reconnect of the writer, and every hour.

    On a connection of its own: a look over 13 months takes a quarter of a second a symbol, which no
    candle should wait for. It looks no further than the writer has committed.
    """

    def __init__(
        self, settings: DatabaseSettings, writer: Writer, clock: Clock, on_gaps: Callable[[list[Gap]], None]
    ) -> None:
        self.problem: str | None = None
        self._settings = settings
        self._writer = writer
        self._clock = clock
        self._on_gaps = on_gaps

    async def run(self) -> None:
        """Audit until cancelled; what a failure interrupts is done again."""
        waits = delays(0.5, 30.0)
        while True:
            try:
                async with asyncio.timeout(AUDIT_SECONDS):
                    await self._writer.reconnected.wait()
            except TimeoutError:
                pass
            self._writer.reconnected.clear()
            try:
                connection = await connect(
                    self._settings, "data-feeder-audit", command_timeout=COMMAND_TIMEOUT
                )
                try:
                    await self._audit(connection)
                    self.problem = None
                    waits = delays(0.5, 30.0)
                    continue
                finally:
                    connection.terminate()
            except TRANSIENT as error:
                self.problem = f"waiting for the database: {explain(error)}"
                log.warning("audit_waiting", reason=explain(error))
            except Exception as error:
                self.problem = f"an unexpected error: {explain(error)}"
                metrics.TASK_FAILURES.labels("audit").inc()
                log.exception("audit_failed")
            self._writer.reconnected.set()
            await self._clock.sleep(next(waits))

    async def _audit(self, connection: Connection) -> None:
        found = 0
        for symbol in list(self._writer.committed):
            span = await connection.fetchrow(
                "SELECT lower(span) AS first, upper(span) AS last FROM expected_range($1) AS span", symbol
            )
            if span is None or span["first"] is None:
                continue
            end = audited_end(span["last"], self._writer.committed[symbol])
            if span["first"] < end:
                gaps = await ledger.record_missing(connection, symbol, span["first"], end, "audit")
                found += len(gaps)
                self._on_gaps(gaps)
        log.info("audit_done", symbols=len(self._writer.committed), gaps=found)

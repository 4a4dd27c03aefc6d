"""A worker: claims work, keeps its lease while it runs, and gives back what it could not finish."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Protocol

import asyncpg

from gap_handler.backfill import Report
from gap_handler.connections import borrow
from gap_handler.journal import Journal
from gap_handler.nudge import Nudge
from gap_handler.plan import MAX_CLAIM_MINUTES
from gap_handler.queries import QUERIES
from gap_handler.totals import Totals
from gap_handler.verdict import Outcome, StalledError, Verdict, verdict
from marketdata import metrics
from marketdata.clock import Clock
from marketdata.database import TRANSIENT
from marketdata.errors import LeaseLostError
from marketdata.log import get_logger
from marketdata.store import ledger
from marketdata.store.ledger import Gap, Work

log = get_logger(__name__)

LEASE_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 10.0
POLL_SECONDS: Final = 2.0
_GIVE_BACK_SECONDS: Final = 3.0
_SETTLED_SECONDS: Final = 5.0


class Runs(Protocol):
    """What does the work: ``Backfill``."""

    async def run(self, work: Work, progress: Callable[[int], None]) -> Report:
        """Work once over a piece of work, and settle it."""


class Worker:
    """One of several; what they share is the ledger, the allowance of requests and these counts."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        backfill: Runs,
        opened: Callable[[], Any],
        nudge: Nudge,
        totals: Totals,
        journal: Journal,
        clock: Clock,
        *,
        timeout_seconds: float,
        lease_seconds: float = LEASE_SECONDS,
        on_closed: Callable[[Gap], Any] | None = None,
    ) -> None:
        self._pool = pool
        self._backfill = backfill
        self._opened = opened
        self._nudge = nudge
        self._totals = totals
        self._journal = journal
        self._clock = clock
        self._timeout = timeout_seconds
        self._lease = lease_seconds
        self._on_closed = on_closed
        # Containers may share a host's name and a process id: the random part tells them apart.
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._claims = count(1)

    async def step(self) -> None:
        """Do the newest piece of work there is, or wait until there may be one."""
        await self._opened()
        self._nudge.take()
        work = await self._claim()
        if work is None:
            await self._nudge.wait(POLL_SECONDS)
            return
        self._nudge.give()  # it may be a piece of something larger: there may be more
        self._totals.running += 1
        try:
            await self._do(work)
        finally:
            self._totals.running -= 1

    async def _claim(self) -> Work | None:
        """Claim work, and not leave it leased to nobody when stopped in the middle."""
        claiming = asyncio.ensure_future(self._claim_and_start())
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # being stopped comes first
                async with asyncio.timeout(_GIVE_BACK_SECONDS):
                    if (work := await claiming) is not None:
                        await self._give_back(work, Verdict(Outcome.STOPPED, 0.0, "the handler was stopped"))
            raise

    async def _claim_and_start(self) -> Work | None:
        async with borrow(self._pool) as connection, connection.transaction():
            work = await ledger.claim(
                connection,
                lease_seconds=self._lease,
                max_minutes=MAX_CLAIM_MINUTES,
                owner=f"{self._name}.{next(self._claims)}",
            )
            if work is not None:
                await connection.execute(QUERIES["start_work"], work.gap.id)
        return work

    async def _do(self, work: Work) -> None:
        gap = work.gap
        entry = self._journal.started(work)
        try:
            report = await self._guarded(work)
        except asyncio.CancelledError:
            await self._give_back(work, Verdict(Outcome.STOPPED, 0.0, "the handler was stopped"))
            raise
        except Exception as error:
            judged = verdict(error, work.attempts)
            metrics.BACKFILLS.labels(judged.outcome.value).inc()
            if judged.outcome is Outcome.LOST:
                log.warning("lease_lost", **entry.fields, reason=judged.reason)
                return
            await self._give_back(work, judged)
            if judged.outcome in (Outcome.FAILED, Outcome.DATABASE):
                raise
            log.warning(
                "backfill_waiting",
                **entry.fields,
                outcome=judged.outcome,
                reason=judged.reason,
                retry_seconds=round(judged.retry_seconds, 1),
            )
            return
        if report.recovered:
            entry.say("candles_recovered", candles=report.recovered)
        if report.waiting_for is not None:
            metrics.BACKFILLS.labels(Outcome.WAITING.value).inc()
            entry.say("backfill_waiting", outcome=Outcome.WAITING, reason=report.waiting_for)
            return
        metrics.BACKFILLS.labels(Outcome.COMPLETED.value).inc()
        self._totals.backfills_completed += 1
        entry.say("backfill_completed", candles=report.recovered)
        if self._on_closed is not None:
            await self._on_closed(gap)

    async def _guarded(self, work: Work) -> Report:
        """Run the backfill under a heartbeat; stop one that stands still or whose work is gone."""
        moved_at = self._clock.monotonic()

        def progress(recovered: int) -> None:
            nonlocal moved_at
            moved_at = self._clock.monotonic()
            self._totals.candles_recovered += recovered
            metrics.CANDLES_RECOVERED.inc(recovered)

        beat = min(HEARTBEAT_SECONDS, self._lease / 3, self._timeout / 2)
        running = asyncio.create_task(self._backfill.run(work, progress))
        try:
            while True:
                done, _ = await asyncio.wait({running}, timeout=beat)
                if done:
                    return running.result()
                if self._clock.monotonic() - moved_at > self._timeout:
                    raise StalledError(f"no progress for {self._timeout:.0f} s")
                try:
                    async with borrow(self._pool) as connection:
                        await ledger.renew(
                            connection, work.gap.id, lease_seconds=self._lease, owner=work.owner
                        )
                except LeaseLostError:
                    # Either this run has just settled it and is about to return, or somebody else has.
                    done, _ = await asyncio.wait({running}, timeout=_SETTLED_SECONDS)
                    if done:
                        return running.result()
                    raise
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=_GIVE_BACK_SECONDS)

    async def _give_back(self, work: Work, judged: Verdict) -> None:
        """Release the lease; where even that fails, it ends by itself."""
        try:
            async with (
                asyncio.timeout(_GIVE_BACK_SECONDS),
                borrow(self._pool, _GIVE_BACK_SECONDS) as connection,
            ):
                await ledger.release(
                    connection,
                    work.gap.id,
                    retry_seconds=judged.retry_seconds,
                    reason=judged.reason,
                    owner=work.owner,
                )
        except (asyncpg.PostgresError, *TRANSIENT) as error:
            log.warning("lease_not_released", id=work.gap.id, reason=str(error) or type(error).__name__)
        else:
            log.info("lease_released", id=work.gap.id, reason=judged.reason)

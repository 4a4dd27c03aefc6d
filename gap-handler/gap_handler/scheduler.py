"""The nightly jobs where the server has no scheduler of its own, and what a repaired range leaves to do."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from gap_handler.connections import borrow
from gap_handler.queries import QUERIES
from marketdata import metrics
from marketdata.clock import Clock
from marketdata.database import TRANSIENT
from marketdata.log import get_logger
from marketdata.minutes import isoformat, merge
from marketdata.store.ledger import Gap

log = get_logger(__name__)

EVERY_SECONDS: Final = 30.0
_JOB_SECONDS: Final = 1800.0
_LOOK_AGAIN_SECONDS: Final = 1.0
_PUT_OFF_SECONDS: Final = 600.0
"""A range may wait this long for gaps that are being filled in it."""
_JOBS: Final = frozenset({"nightly_cleanup", "nightly_accuracy"})


class Scheduler:
    """Asks the database which job is due and calls it. The answer is given to one caller only."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def step(self) -> None:
        """Run every job that is due. A failing one is logged, and due again the next night."""
        while (name := await self._take()) is not None:
            if name not in _JOBS:
                log.error("job_unknown", job=name)
                continue
            try:
                async with borrow(self._pool) as connection:
                    await connection.execute(QUERIES[name], timeout=_JOB_SECONDS)
            except (asyncpg.PostgresError, OSError, TimeoutError):
                metrics.TASK_FAILURES.labels(name).inc()
                log.exception("job_failed", job=name)
            else:
                log.info("job_done", job=name)

    async def _take(self) -> str | None:
        async with borrow(self._pool) as connection:
            name: str | None = await connection.fetchval(QUERIES["take_due_job"])
        return name


class Rollups:
    """Brings the continuous aggregates and the columnstore up to date with repairs, one range at a time.

    Apart from the workers: a month costs as much as the candles of all symbols in it, and a hole at the live
    end must not wait for that. What piles up meanwhile is one range where it overlaps, and a range in which
    another symbol's gap is still being filled waits for that one: a first fill refreshes each month once.
    """

    def __init__(self, pool: asyncpg.Pool[Any], clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._ranges: list[tuple[int, int]] = []
        self._some = asyncio.Event()
        self._waits_since: float | None = None

    async def add(self, gap: Gap) -> None:
        """Take note of a repaired range; never waits. A stop forgets it: the server's policies come later."""
        self._ranges = merge([*self._ranges, (gap.start, gap.end)])
        self._some.set()

    async def step(self) -> None:
        """Wait for a range, and refresh the newest one in which nothing is being filled."""
        await self._some.wait()
        chosen = await self._choose()
        if chosen is None:
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
            return
        if chosen not in self._ranges:
            # What was added since has made it part of a longer one: that one is chosen next.
            return
        self._ranges.remove(chosen)
        self._waits_since = None
        try:
            await self.refresh(*chosen)
        except Exception:
            self._ranges = merge([*self._ranges, chosen])
            raise
        if not self._ranges:
            self._some.clear()

    async def _choose(self) -> tuple[int, int] | None:
        """Return what may be refreshed now; after ``_PUT_OFF_SECONDS`` without any, the newest range."""
        async with borrow(self._pool) as connection:
            for chosen in reversed(list(self._ranges)):
                filled = await connection.fetchval(QUERIES["being_filled"], *chosen)
                if not filled:
                    return chosen
        now = self._clock.monotonic()
        if self._waits_since is None:
            self._waits_since = now
        return self._ranges[-1] if now - self._waits_since >= _PUT_OFF_SECONDS else None

    async def refresh(self, start: int, end: int) -> None:
        """Refresh ``[start, end)`` (Unix ms). A failure costs freshness or space: see ``add``.

        Raises what a lost database raises; then it is to be done again.
        """
        async with borrow(self._pool) as connection:
            for name in ("refresh_rollups", "recompress"):
                try:
                    await connection.execute(QUERIES[name], start, end, timeout=_JOB_SECONDS)
                except (asyncpg.PostgresError, TimeoutError) as error:
                    if isinstance(error, TRANSIENT) and not isinstance(error, TimeoutError):
                        raise
                    metrics.TASK_FAILURES.labels(name).inc()
                    log.exception(
                        "repair_not_followed", step=name, start=isoformat(start), end=isoformat(end)
                    )

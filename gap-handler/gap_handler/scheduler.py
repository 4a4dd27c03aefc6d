"""The nightly jobs where the server has no scheduler of its own, and what a repaired range leaves to do."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from gap_handler.connections import borrow
from gap_handler.queries import QUERIES
from marketdata import metrics
from marketdata.log import get_logger
from marketdata.store.ledger import Gap

log = get_logger(__name__)

EVERY_SECONDS: Final = 30.0
_JOB_SECONDS: Final = 1800.0
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
    """Brings the continuous aggregates and the columnstore up to date with a repair, one range at a time."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._one = asyncio.Lock()

    async def refresh(self, gap: Gap) -> None:
        """Refresh ``gap``'s range. A failure costs freshness or space: the server's policies come later."""
        async with self._one, borrow(self._pool) as connection:
            for name in ("refresh_rollups", "recompress"):
                try:
                    await connection.execute(QUERIES[name], gap.start, gap.end, timeout=_JOB_SECONDS)
                except (asyncpg.PostgresError, TimeoutError):
                    metrics.TASK_FAILURES.labels(name).inc()
                    log.exception("repair_not_followed", step=name, symbol=gap.symbol)

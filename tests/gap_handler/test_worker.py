"""A worker's lease: kept while it works, not mistaken for lost when its own work has just been settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import asyncpg
import pytest
from tests.gap_handler.harness import HOUR_MS, NOON, SYMBOL, Connection, rows

from gap_handler.backfill import Report
from gap_handler.journal import Journal
from gap_handler.nudge import Nudge
from gap_handler.totals import Totals
from gap_handler.worker import Runs, Worker
from marketdata import database as db
from marketdata.clock import SystemClock
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import Gap, Work, claim, record_missing, record_outage, settle_outage

pytestmark = pytest.mark.database

Pool: TypeAlias = "asyncpg.Pool[Any]"


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    opened: asyncpg.Pool[Any] = await db.create_pool(database, "test", 4)
    yield opened
    await opened.close()


async def nothing() -> None:
    """Nothing to wait for: the exchange is open."""


def worker(pool: Pool, runs: Runs, totals: Totals, closed: list[Gap]) -> Worker:
    async def on_closed(gap: Gap) -> None:
        closed.append(gap)

    return Worker(
        pool,
        runs,
        nothing,
        Nudge(),
        totals,
        Journal(SystemClock()),
        SystemClock(),
        timeout_seconds=5,
        lease_seconds=0.6,
        on_closed=on_closed,
    )


class SlowToReturn:
    """Settles its gap and takes several heartbeats to say so."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, work: Work, progress: Callable[[int], None]) -> Report:
        await self._connection.execute("UPDATE data_quality_logs SET resolved = true")
        await asyncio.sleep(1)
        return Report(1, None)


class Endless:
    """Never comes to an end by itself."""

    def __init__(self) -> None:
        self.stopped = False

    async def run(self, work: Work, progress: Callable[[int], None]) -> Report:
        try:
            await asyncio.sleep(60)
        finally:
            self.stopped = True
        raise AssertionError


async def test_work_settled_by_its_own_run_is_completed(pool: Pool, ledger: Connection) -> None:
    await record_missing(ledger, SYMBOL, NOON - HOUR_MS, NOON, "jump")
    totals, closed = Totals(), list[Gap]()
    await worker(pool, SlowToReturn(ledger), totals, closed).step()
    assert (totals.backfills_completed, totals.running, len(closed)) == (1, 0, 1)


async def test_a_lease_is_kept_while_working(pool: Pool, ledger: Connection) -> None:
    await record_missing(ledger, SYMBOL, NOON - HOUR_MS, NOON, "jump")
    endless = Endless()
    working = asyncio.create_task(worker(pool, endless, Totals(), []).step())
    await asyncio.sleep(1.5)
    assert await ledger.fetchval("SELECT lease_until > now() FROM data_quality_logs")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert endless.stopped
    assert await ledger.fetchval("SELECT lease_until <= now() FROM data_quality_logs")


async def test_work_that_is_gone_is_dropped(
    pool: Pool, ledger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gap_handler.worker._SETTLED_SECONDS", 0.2)
    await record_missing(ledger, SYMBOL, NOON - HOUR_MS, NOON, "jump")
    endless, totals = Endless(), Totals()
    working = asyncio.create_task(worker(pool, endless, totals, []).step())
    await asyncio.sleep(0.3)
    await ledger.execute("UPDATE data_quality_logs SET resolved = true")
    async with asyncio.timeout(3):
        await working
    assert endless.stopped
    assert totals.backfills_completed == 0


class JoinedAway:
    """Ends a second look at an outage that a look next to it joined into a larger one meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, work: Work, progress: Callable[[int], None]) -> Report:
        await record_outage(self._connection, SYMBOL, NOON, NOON + HOUR_MS, confirm_seconds=0)
        await settle_outage(self._connection, work.gap.id, owner=work.owner)
        raise AssertionError


async def test_a_second_look_that_was_joined_away_is_left_to_the_next(pool: Pool, ledger: Connection) -> None:
    await record_outage(ledger, SYMBOL, NOON - HOUR_MS, NOON, confirm_seconds=0)
    totals, closed = Totals(), list[Gap]()
    await worker(pool, JoinedAway(ledger), totals, closed).step()
    assert (totals.backfills_completed, totals.running, closed) == (0, 0, [])
    (whole,) = await rows(ledger, "outage")
    assert (whole["resolved"], whole["attempts"], whole["candles_missing"]) == (False, 0, 120)
    work = await claim(ledger, lease_seconds=60, max_minutes=1, owner="the next")
    assert work is not None
    assert (work.gap.start, work.gap.end, work.is_outage) == (NOON - HOUR_MS, NOON + HOUR_MS, True)

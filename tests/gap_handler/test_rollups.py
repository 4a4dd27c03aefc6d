"""What a repair leaves to do for the aggregates waits for itself, never a worker for it."""

from __future__ import annotations

import asyncio

import pytest
from tests.gap_handler.harness import HOUR_MS, NOON, SYMBOL, Connection, eventually, handler, register

from exchange_simulator import Simulator
from gap_handler.scheduler import Rollups
from marketdata import database as db
from marketdata.clock import SystemClock
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import Gap, record_missing

pytestmark = pytest.mark.database

SLOW = """
CREATE TABLE refreshed (starts timestamptz, ends timestamptz);
CREATE OR REPLACE PROCEDURE refresh_rollups(p_from timestamptz, p_to timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO refreshed VALUES (p_from, p_to);
    COMMIT;
    PERFORM pg_advisory_xact_lock(4711);
END
$$
"""


async def test_gaps_are_filled_while_the_aggregates_take_their_time(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await ledger.execute(SLOW)
    holder = await db.connect(database, "test-holder")
    await holder.execute("SELECT pg_advisory_lock(4711)")
    starts = [NOON - n * HOUR_MS for n in range(5, 1, -1)]

    async def refreshed() -> list[tuple[int, int]]:
        return [tuple(row) for row in await ledger.fetch("SELECT * FROM refreshed")]

    async with handler(
        database, simulator.api_url, MAX_CONCURRENT_BACKFILLS="1", BACKFILL_TIMEOUT_SECONDS="20"
    ) as service:
        for start in starts:
            job = (await service.post(SYMBOL, start, start + 10 * MINUTE_MS)).json()["id"]
            await service.until(job, "completed")
            assert len(await refreshed()) <= 1

        # The last repair overlaps the one before; the first is being refreshed since.
        job = (await service.post(SYMBOL, starts[-1] + 5 * MINUTE_MS, starts[-1] + 20 * MINUTE_MS)).json()[
            "id"
        ]
        await service.until(job, "completed")
        assert await refreshed() == [(starts[0], starts[0] + 10 * MINUTE_MS)]
        await holder.close()

        async def all_done() -> bool:
            return len(await refreshed()) == len(starts)

        await eventually(all_done, what=lambda: "the others' turn")
    assert (await refreshed())[1:] == [
        (starts[-1], starts[-1] + 20 * MINUTE_MS),
        *((start, start + 10 * MINUTE_MS) for start in reversed(starts[1:-1])),
    ]


async def test_a_range_in_which_another_gap_is_filled_is_refreshed_after_it(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await ledger.execute(SLOW)
    early, late = NOON - 5 * HOUR_MS, NOON - 2 * HOUR_MS
    await register(ledger, symbol="ETHUSDT")
    [other] = await record_missing(ledger, "ETHUSDT", early + 5 * MINUTE_MS, early + HOUR_MS, "start")
    # Somebody else is at it.
    await ledger.execute(
        "UPDATE data_quality_logs SET lease_until = now() + interval '1 hour' WHERE id = $1", other.id
    )

    async def refreshed() -> list[tuple[int, int]]:
        return [tuple(row) for row in await ledger.fetch("SELECT * FROM refreshed")]

    async with handler(database, simulator.api_url) as service:
        for start in (early, late):
            job = (await service.post(SYMBOL, start, start + 10 * MINUTE_MS)).json()["id"]
            await service.until(job, "completed")

        async def some() -> bool:
            return bool(await refreshed())

        await eventually(some, what=lambda: "the range in which nothing is filled")
        assert await refreshed() == [(late, late + 10 * MINUTE_MS)]
        await ledger.execute("UPDATE data_quality_logs SET resolved = true WHERE id = $1", other.id)

        async def both() -> bool:
            return len(await refreshed()) > 1

        await eventually(both, what=lambda: "the range in which nothing is filled any more")
    assert await refreshed() == [(start, start + 10 * MINUTE_MS) for start in (late, early)]


async def test_a_range_that_grows_while_it_is_looked_at_is_refreshed_whole(
    database: DatabaseSettings, ledger: Connection
) -> None:
    await ledger.execute(SLOW)
    holder = await db.connect(database, "test-holder")
    pool = await db.create_pool(database, "test-rollups", 2)
    rollups = Rollups(pool, SystemClock())
    first, second = (Gap(n, SYMBOL, NOON + n * HOUR_MS, NOON + (n + 1) * HOUR_MS) for n in range(2))

    async def waiting() -> bool:
        return bool(
            await holder.fetchval(
                "SELECT count(*) FROM pg_locks WHERE relation = 'data_quality_logs'::regclass AND NOT granted"
            )
        )

    try:
        await rollups.add(first)
        async with holder.transaction():
            await holder.execute("LOCK TABLE data_quality_logs IN ACCESS EXCLUSIVE MODE")
            step = asyncio.create_task(rollups.step())
            await eventually(waiting)
            await rollups.add(second)
        await step
        await rollups.step()
        assert [tuple(row) for row in await ledger.fetch("SELECT * FROM refreshed")] == [
            (NOON, NOON + 2 * HOUR_MS)
        ]
    finally:
        await pool.close()
        await holder.close()

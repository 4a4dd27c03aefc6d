"""Waiting for the database at the start."""

from __future__ import annotations

import asyncio

from tests.conftest import migrate

from gap_handler.__main__ import wait_for_schema
from marketdata import database as db
from marketdata.settings import DatabaseSettings


async def test_a_database_that_goes_away_during_the_start_is_waited_for(
    empty_database: DatabaseSettings,
) -> None:
    connection = await db.connect(empty_database, "test")
    waiting = asyncio.create_task(wait_for_schema(empty_database, seconds=30))
    ended = 0
    while not waiting.done() and ended < 3:
        ended += await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name IN ('gap_handler-wait', 'marketdata-wait')"
        )
        await asyncio.sleep(0)
    await connection.close()
    assert not waiting.done(), waiting.exception()
    await migrate(empty_database, policies=False)
    await asyncio.wait_for(waiting, 30)

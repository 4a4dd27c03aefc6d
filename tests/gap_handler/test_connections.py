"""What becomes of a borrowed connection that is lost, and what is said of it."""

from __future__ import annotations

import asyncio
import gc
import logging

import asyncpg
import pytest

from gap_handler.connections import borrow, left_behind
from marketdata.database import Connection, create_pool
from marketdata.settings import DatabaseSettings


@pytest.mark.database
async def test_a_connection_lost_in_a_transaction_is_not_lent_again(
    database: DatabaseSettings, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await create_pool(database, "test-borrow", 1)
    try:

        async def fails_in_a_transaction() -> None:
            async with borrow(pool) as borrowed:
                # Begun by hand: nothing rolls it back on the way out.
                await borrowed.execute("BEGIN")
                await borrowed.execute("SELECT 1 / 0")

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fails_in_a_transaction()
        async with borrow(pool) as borrowed:
            assert not borrowed.is_in_transaction()
            assert await borrowed.fetchval("SELECT 1") == 1
    finally:
        await pool.close()
    assert "active transaction" not in caplog.text


@pytest.mark.database
async def test_a_connection_that_is_lost_while_lent_says_so(
    database: DatabaseSettings, connection: Connection
) -> None:
    pool = await create_pool(database, "test-borrow", 1)

    async def loses_it() -> None:
        async with borrow(pool) as borrowed:
            await borrowed.execute("BEGIN")
            pid = await borrowed.fetchval("SELECT pg_backend_pid()")
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
            await borrowed.execute("SELECT pg_sleep(10)")

    try:
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError)):
            await loses_it()
        async with borrow(pool) as borrowed:
            assert await borrowed.fetchval("SELECT 1") == 1
    finally:
        await pool.close()


async def test_a_future_of_a_lost_connection_is_a_warning_and_another_ones_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asyncio.get_running_loop().set_exception_handler(left_behind)
    for error in (asyncpg.ConnectionDoesNotExistError("lost"), KeyError("ours")):
        asyncio.get_running_loop().create_future().set_exception(error)
        gc.collect()
    assert [(r.levelno, r.getMessage().split("\n")[0]) for r in caplog.records] == [
        (logging.WARNING, "connection_left"),
        (logging.ERROR, "Future exception was never retrieved"),
    ]

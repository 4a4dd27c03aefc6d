"""Reads by binary COPY: the server's rows as arrays, nothing misread, and a stop in the middle is a stop."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from tests.database.conftest import minute, store

from marketdata import database as db
from marketdata.client import AsyncClient
from marketdata.copyrows import decode, row_type, to_milliseconds
from marketdata.database import Connection, copy_out, one_moment
from marketdata.export import source
from marketdata.settings import DatabaseSettings
from marketdata.store import windows

LAYOUT = row_type(("time", ">i8", 1), ("values", ">f8", 2))
MINUTES = (minute(0), minute(5))
LOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
SENDING = (
    "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database() AND tuples_processed > 0"
)

Read = Callable[[Connection], Awaitable[object]]


async def test_rows_are_the_servers(connection: Connection) -> None:
    question = (
        "SELECT $1::timestamptz + n * interval '1 minute', n::float8, 'NaN'::float8"
        " FROM generate_series(0, 2) AS n"
    )
    found = decode(await copy_out(connection, question, minute(7)), LAYOUT)
    assert to_milliseconds(found["time"][:, 0]).tolist() == [minute(7 + n) for n in range(3)]
    np.testing.assert_array_equal(found["values"], [[0, np.nan], [1, np.nan], [2, np.nan]])
    none = decode(await copy_out(connection, question + " WHERE n > 9", minute(7)), LAYOUT)
    assert none["values"].shape == (0, 2)


async def test_what_does_not_fit_is_refused(connection: Connection) -> None:
    for columns, wrong in (
        ("now(), 1::float8, NULL::float8", r"field 3 \(values\) is null"),
        ("now(), 1::float8", "has 2 fields, not 3"),
        ("now(), 1::float8, 2::float4", r"field 3 \(values\) has 4 bytes, not 8"),
        ("now(), '12345678'::text, '1234'::text, 'abcd'::text", "has 4 fields, not 3"),
        # As long as two good rows, and not two good rows.
        ("now(), 1::float8, 2::float8, 3::float8, repeat('x', 22)", "has 5 fields, not 3"),
    ):
        copied = await copy_out(connection, f"SELECT {columns}")
        with pytest.raises(ValueError, match=f"^row 1 of a binary COPY:? {wrong}$"):
            decode(copied, LAYOUT)


async def windows_of(connection: Connection) -> object:
    return await windows.load_windows(connection, ["BTCUSDT"], *MINUTES)


async def part_of_an_export(connection: Connection) -> object:
    async with one_moment(connection):
        return await source.load(connection, "BTCUSDT", *MINUTES)


async def much(connection: Connection) -> object:
    async with one_moment(connection):
        return await copy_out(connection, "SELECT generate_series(1, 1000000000)")


async def until(database: DatabaseSettings, question: str) -> None:
    # Outside the transaction that holds the lock: in it, the server's activity is what it was at first.
    looking = await db.connect(database, "test-looking")
    async with asyncio.timeout(20):
        while not await looking.fetchval(question):  # noqa: ASYNC110 - it looks into a database
            await asyncio.sleep(0.01)
    await looking.close()


async def stopped(task: asyncio.Task[object], caplog: pytest.LogCaptureFixture) -> None:
    """Stop a read: it ends as stopped, and no error is told of it."""
    task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([task])
    assert task.cancelled(), task
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("read", "state"), [(windows_of, LOCKED), (part_of_an_export, LOCKED), (much, SENDING)]
)
async def test_a_stop_in_the_middle_loses_the_connection_and_says_nothing(
    market: Connection, database: DatabaseSettings, caplog: pytest.LogCaptureFixture, read: Read, state: str
) -> None:
    opened = await db.connect(database, "test-read")
    async with market.transaction():
        await market.execute("LOCK TABLE candles_1m")
        task = asyncio.ensure_future(read(opened))
        await until(database, state)
        await stopped(task, caplog)
    assert opened.is_closed()


async def test_a_stopped_question_leaves_the_client_as_it_was(
    market: Connection, database: DatabaseSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await store(market, range(3))
    async with AsyncClient(database) as client:
        ask = client.candles("BTCUSDT", "2023-03-24", "2023-03-25")
        async with market.transaction():
            await market.execute("LOCK TABLE candles_1m")
            task: asyncio.Task[object] = asyncio.ensure_future(ask)
            await until(database, LOCKED)
            await stopped(task, caplog)
        assert len(await client.candles("BTCUSDT", "2023-03-24", "2023-03-25")) == 3


async def fails(connection: Connection, lost: bool) -> None:
    assert await connection.fetchval("SHOW transaction_read_only") == "on"
    if lost:
        connection.terminate()
    raise LookupError("mine")


async def test_what_ends_a_moment_comes_out_as_it_is(connection: Connection) -> None:
    """An error leaves the connection as it was; a lost connection is no reason to tell another."""
    for lost in (False, True):
        with pytest.raises(LookupError, match="mine"):
            async with one_moment(connection):
                await fails(connection, lost)
        assert connection.is_closed() is lost
        assert lost or not connection.is_in_transaction()

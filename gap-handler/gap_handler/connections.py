"""Borrowing a connection of the pool, never waiting for it without end; what is left of a lost one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from marketdata.database import TRANSIENT, explain
from marketdata.log import get_logger

log = get_logger(__name__)


@asynccontextmanager
async def borrow(pool: asyncpg.Pool[Any], seconds: float = 10.0) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Lend a connection. Raises ``TimeoutError`` when none is had within ``seconds``."""
    async with pool.acquire(timeout=seconds) as proxy:
        connection = cast("asyncpg.Connection[Any]", proxy)
        try:
            yield connection
        except BaseException:
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool has taken a lost one back itself
                if connection.is_in_transaction():
                    # Its rollback failed: it is lost, or of no known state, and not for the next borrower.
                    connection.terminate()
            raise


def left_behind(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say in a warning what asyncpg leaves of a lost connection: a future that nobody waits for any more.

    Whoever waited has heard of the loss from the statement that met it. All else is the loop's to report.
    """
    error = context.get("exception")
    if isinstance(error, TRANSIENT) and isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        log.warning("connection_left", reason=explain(error))
    else:
        loop.default_exception_handler(context)

"""Borrowing a connection of the pool, never waiting for it without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg


@asynccontextmanager
async def borrow(pool: asyncpg.Pool[Any], seconds: float = 10.0) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Lend a connection. Raises ``TimeoutError`` when none is had within ``seconds``."""
    async with pool.acquire(timeout=seconds) as proxy:
        yield cast("asyncpg.Connection[Any]", proxy)

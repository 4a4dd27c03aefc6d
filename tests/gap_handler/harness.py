"""What the gap-handler's tests share: a ledger to look into, and a handler on real sockets."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import asyncpg
import httpx
from tests.processes import database_environment

from exchange_simulator import Simulator
from gap_handler.server import listen
from gap_handler.service import running
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Candle
from marketdata.settings import DatabaseSettings, load

SYMBOL = "BTCUSDT"
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
NOW = 1_772_539_230_000
"""2026-03-03T12:00:30Z: half a minute into an open one."""
NOON = NOW - 30_000

Connection: TypeAlias = "asyncpg.Connection[Any]"


class Handler(NamedTuple):
    """A running gap-handler."""

    client: httpx.AsyncClient

    async def post(self, symbol: str, start: int, end: int) -> httpx.Response:
        body = {"symbol": symbol, "start": isoformat(start), "end": isoformat(end)}
        return await self.client.post("/backfill", json=body)

    async def status(self, job: int) -> dict[str, Any]:
        answer = await self.client.get(f"/backfill/{job}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def health(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get("/health")).json()
        return found

    async def until(self, job: int, status: str, *, seconds: float = 20) -> dict[str, Any]:
        """Return a backfill's state once it is ``status``."""
        seen: dict[str, Any] = {}

        async def there() -> bool:
            seen.update(await self.status(job))
            return bool(seen["status"] == status)

        await eventually(there, seconds=seconds, what=lambda: f"{status}, it is {seen}")
        return seen


async def eventually(
    true: Callable[[], Awaitable[bool]], *, seconds: float = 20, what: Callable[[], str] = lambda: "it"
) -> None:
    """Return once ``true`` says so; fail after ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - it looks into a database
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s for {what()}") from None


def environment(database: DatabaseSettings, **more: str) -> dict[str, str]:
    """Return the variables of a gap-handler that runs as a program."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        **database_environment(database),
    } | more


@asynccontextmanager
async def handler(
    database: DatabaseSettings, *api_urls: str, token: str = "", **settings: str
) -> AsyncIterator[Handler]:
    """Run a gap-handler in this process, on a port of its own."""
    settings_of = {
        **database_environment(database),
        "BINANCE_API_URL": ",".join(api_urls),
        "BINANCE_ARCHIVE_URL": "off",
        "MAX_CONCURRENT_BACKFILLS": "3",
        "AUDIT_DAYS": "0",
    }
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    async with (
        running(load(settings_of | settings), token, listening),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client,
    ):

        async def answering() -> bool:
            try:
                return bool((await client.get("/metrics")).status_code == 200)
            except httpx.TransportError:
                return False

        await eventually(answering, what=lambda: "the handler to serve")
        yield Handler(client)


async def register(
    connection: Connection, *, symbol: str = SYMBOL, history: int = NOON - 5 * DAY_MS, now: int = NOW
) -> None:
    """Do what the feeder does at its start: the symbol, and the market's clock."""
    await connection.execute(
        "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)", symbol, history
    )
    await connection.execute("SELECT advance_market_clock($1)", now)


async def stored(connection: Connection, symbol: str = SYMBOL) -> list[Candle]:
    """Return every stored candle of a symbol, in order."""
    records = await connection.fetch(
        "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,"
        " taker_buy_quote_volume FROM candles_1m WHERE symbol = $1 ORDER BY time",
        symbol,
    )
    return [Candle(*record) for record in records]


async def rows(connection: Connection, event_type: str) -> list[asyncpg.Record]:
    """Return the ledger's rows of one kind, by time."""
    return list(
        await connection.fetch(
            "SELECT *, detail::text AS text FROM data_quality_logs"
            " WHERE event_type = $1 ORDER BY gap_start, id",
            event_type,
        )
    )


async def coverage(connection: Connection, start: int, end: int) -> list[tuple[int, int, str]]:
    """Return what the database says of every minute of ``[start, end)``."""
    records = await connection.fetch("SELECT * FROM candle_coverage($1, $2, $3)", SYMBOL, start, end)
    return [tuple(record) for record in records]


def expected(simulator: Simulator, start: int, end: int) -> list[Candle]:
    """Return the candles a perfect reader has of ``[start, end)``."""
    return simulator.candles(SYMBOL, start, end)

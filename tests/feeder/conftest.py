"""A running feeder on a real database and the simulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.processes import database_environment, free_port

from data_feeder.buffer import Buffer
from data_feeder.service import Feeder
from data_feeder.session import Patience
from exchange_simulator import Simulator
from marketdata.clock import Clock
from marketdata.database import Connection
from marketdata.models import Candle
from marketdata.settings import DatabaseSettings, load

T0 = 1679616000000


@asynccontextmanager
async def running_feeder(
    database: DatabaseSettings,
    simulator: Simulator,
    *,
    clock: Clock | None = None,
    patience: Patience | None = None,
    buffer: Buffer | None = None,
    **overrides: str,
) -> AsyncIterator[Callable[[], Awaitable[tuple[int, dict[str, Any]]]]]:
    """Run a feeder in this process; yield a function that asks its ``/health`` (status code, body)."""
    port = free_port()
    settings = load(
        {
            **database_environment(database),
            "SYMBOLS": ",".join(simulator.symbols),
            "HISTORY_DAYS": "1",
            "BINANCE_STREAM_URL": simulator.stream_url,
            "BINANCE_API_URL": simulator.api_url,
            "FEEDER_PORT": str(port),
            **overrides,
        }
    )
    stop = asyncio.Event()
    feeder = asyncio.create_task(Feeder(settings, clock=clock, patience=patience, buffer=buffer).run(stop))

    async def health() -> tuple[int, dict[str, Any]]:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/health", timeout=5)
            return answer.status_code, answer.json()

    try:
        yield health
    finally:
        stop.set()
        await asyncio.wait_for(feeder, 20)


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
    """Return once ``condition`` holds; fail with ``what``."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


async def stored(connection: Connection, symbol: str) -> list[Candle]:
    """Return a symbol's stored candles in order."""
    records = await connection.fetch(
        "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,"
        " taker_buy_quote_volume FROM candles_1m WHERE symbol = $1 ORDER BY time",
        symbol,
    )
    return [Candle(*record) for record in records]

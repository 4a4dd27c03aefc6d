"""Small readers for the simulator's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from exchange_simulator import Simulator

MINUTE = 60_000
DAY = 86_400_000
START = 1_790_935_200_000
"""2026-10-02 09:20:00 UTC."""

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NO_DATA = "recorded market data (../shared/data) is not here"


@asynccontextmanager
async def opened(sim: Simulator, path: str) -> AsyncIterator[ClientConnection]:
    """A plain WebSocket connection to ``path``."""
    async with connect(sim.stream_url + path, compression=None, max_size=None, close_timeout=0.2) as socket:
        yield socket


async def receive(socket: ClientConnection, seconds: float = 3.0) -> Any:
    """The next message, parsed."""
    return orjson.loads(await asyncio.wait_for(socket.recv(), seconds))


async def ask(socket: ClientConnection, **message: object) -> Any:
    """Send a control message and return the answer, skipping stream frames."""
    await socket.send(orjson.dumps(message).decode())
    while True:
        answer = await receive(socket)
        if "result" in answer or "code" in answer:
            return answer


async def collect(socket: ClientConnection, count: int, seconds: float = 5.0) -> list[Any]:
    """The next ``count`` messages."""
    async with asyncio.timeout(seconds):
        return [orjson.loads(await socket.recv()) for _ in range(count)]


async def finals(socket: ClientConnection, count: int, seconds: float = 5.0) -> list[Any]:
    """The next ``count`` final kline events, unwrapped; everything else is skipped."""
    found: list[Any] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            event = orjson.loads(await socket.recv())
            event = event.get("data", event)
            if event.get("e") == "kline" and event["k"]["x"]:
                found.append(event)
    return found

"""A small exchange whose connections do what the test says, and a reader of it without a database."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from data_feeder.addresses import Failover
from data_feeder.buffer import Buffer
from data_feeder.ingest import Ingest
from data_feeder.session import Patience
from data_feeder.stream import Stream
from data_feeder.watchdog import Watchdog
from marketdata.clock import Clock, MarketClock, SystemClock
from marketdata.models import MINUTE_MS

START = 1679616000000
Script = Callable[[ServerConnection, int], Awaitable[None]]


def kline(
    symbol: str, minute: int, *, final: bool = True, pushed: int | None = None, close: float = 1.5
) -> str:
    """A kline frame of the ``minute``-th minute after START; ``pushed`` is its E in ms after START."""
    opened = START + minute * MINUTE_MS
    event = opened + (MINUTE_MS + 20 if final else 30_000) if pushed is None else START + pushed
    k: dict[str, Any] = {"t": opened, "T": opened + 59_999, "s": symbol, "i": "1m", "f": 1, "L": 3, "n": 3}
    k |= {"o": "1", "h": "2", "l": "1", "c": str(close), "v": "2", "q": "3", "V": "1", "Q": "1.5", "B": "0"}
    data = {"e": "kline", "E": event, "s": symbol, "k": k | {"x": final}}
    return json.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data})


def quote(symbol: str) -> str:
    """A bookTicker frame."""
    data = {"u": 1, "s": symbol, "b": "1.4", "B": "1", "a": "1.6", "A": "1"}
    return json.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data})


async def acknowledge(socket: ServerConnection) -> None:
    """Answer one SUBSCRIBE."""
    await socket.send(json.dumps({"result": None, "id": json.loads(await socket.recv())["id"]}))


async def silent(socket: ServerConnection, number: int) -> None:
    """Acknowledge and say nothing, for ever."""
    await acknowledge(socket)
    await socket.wait_closed()


async def talking(socket: ServerConnection, number: int) -> None:
    """Acknowledge and send quotes, for ever."""
    await acknowledge(socket)
    while True:
        await socket.send(quote("BTCUSDT"))
        await asyncio.sleep(0.02)


class Exchange:
    """Where the small exchange is, and how many connections it has had."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.open: set[int] = set()
        self.reached = asyncio.Condition()

    async def connected(self, count: int) -> None:
        """Return once it has had ``count`` connections."""
        async with self.reached, asyncio.timeout(30):
            await self.reached.wait_for(lambda: self.connections >= count)


@asynccontextmanager
async def exchange(script: Script) -> AsyncIterator[Exchange]:
    """Serve ``script(socket, number)`` for each connection, counted from 1."""
    there = Exchange()
    running: dict[asyncio.Task[None], ServerConnection] = {}

    async def run(socket: ServerConnection) -> None:
        task = asyncio.current_task()
        assert task is not None
        running[task] = socket
        async with there.reached:
            there.connections += 1
            number = there.connections
            there.open.add(number)
            there.reached.notify_all()
        try:
            await script(socket, number)
        except ConnectionClosed:
            return
        finally:
            there.open.discard(number)
            del running[task]

    async with serve(run, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2, compression=None) as server:
        there.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield there
        finally:
            # One that reads nothing would never learn that its reader is gone.
            for task, socket in list(running.items()):
                socket.transport.abort()
                task.cancel()


class FastClock(SystemClock):
    """Local time that runs ``rate`` times as fast, so that seconds of waiting take none of the test's."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic() * self._rate

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of this clock's."""
        await asyncio.sleep(seconds / self._rate)


class Feed:
    """A connection, its watchdog and everything they hand on."""

    def __init__(self, urls: Sequence[str], symbols: Sequence[str], clock: Clock, patience: Patience) -> None:
        self.clock = clock
        self.buffer, self.market = Buffer(), MarketClock()
        self.market.advance(START)
        self.ingest = Ingest(symbols, START - MINUTE_MS, self.buffer, self.market, clock)
        self.failovers: list[Failover] = []
        self.lost: list[str] = []
        self.stream = Stream(
            urls, symbols, self.ingest, clock, patience,
            on_disconnect=lambda url, reason: self.lost.append(reason), on_failover=self.failovers.append,
        )  # fmt: skip
        self.watchdog = Watchdog(self.ingest, [self.stream], self.buffer, self.market, clock, 70)


@asynccontextmanager
async def feed(
    *urls: str,
    symbols: Sequence[str] = ("BTCUSDT",),
    clock: Clock | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Feed]:
    """Run a connection and its watchdog."""
    running = Feed(urls, symbols, clock or SystemClock(), patience or Patience())
    tasks = [asyncio.create_task(running.stream.run()), asyncio.create_task(running.watchdog.run())]
    try:
        yield running
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

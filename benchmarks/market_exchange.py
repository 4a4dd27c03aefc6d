"""The exchange of the whole market's minute, a process of its own: quotes all the while, and every symbol's
final candle when it is told to. What is stored before the first minute is the beginning of the same candles.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from multiprocessing.connection import Connection as Pipe
from typing import Final

import numpy as np
import orjson
import uvloop
import websockets
from numpy.typing import NDArray
from tests.features.samples import START, rows
from websockets.asyncio.server import ServerConnection, serve

from marketdata.features import MAX_WINDOW
from marketdata.models import MINUTE_MS

HISTORY: Final = MAX_WINDOW
HEAD: Final = START + (HISTORY - 1) * MINUTE_MS
PATHS: Final = 40
"""Different seeded price paths; more would take longer to draw than to measure."""
_TICK: Final = 0.005


def names(count: int) -> list[str]:
    """The reference and others."""
    return ["BTCUSDT", *(f"S{n:04}USDT" for n in range(1, count))]


def paths(minutes: int) -> list[NDArray[np.float64]]:
    """Seeded candles, from the history's first minute on."""
    return [rows(HISTORY + minutes, seed) for seed in range(1, PATHS + 1)]


def _frame(payload: bytes) -> bytes:
    """A websocket text frame as a server sends it, shorter than 64 kB."""
    n = len(payload)
    return bytes((0x81, n) if n < 126 else (0x81, 126, n >> 8, n & 255)) + payload


def final(symbol: str, row: NDArray[np.float64]) -> bytes:
    """Return the message of a closed candle as the exchange's combined stream has it."""
    t = int(row[0])
    keys = ("o", "h", "l", "c", "v", "q", "n", "V", "Q")
    numbers = {key: repr(float(value)) for key, value in zip(keys, row[1:], strict=True)}
    k = {**numbers, "n": int(row[7]), "t": t, "T": t + 59_999, "s": symbol, "i": "1m", "x": True}
    data = {"e": "kline", "E": t + 60_019, "s": symbol, "k": {**k, "f": 1, "L": 1, "B": "0"}}
    return orjson.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data})


def _quote(symbol: str, n: int) -> bytes:
    data = {"u": n, "s": symbol, "b": "100.01", "B": f"{1 + n % 7}.5", "a": "100.02", "A": "2.25"}
    return _frame(orjson.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data}))


class Exchange:
    """Sends quotes all the while, and a minute's final frames when told to."""

    def __init__(self, symbols: list[str], minutes: int) -> None:
        self._minutes = paths(minutes)
        self._symbols = symbols
        self._sockets: dict[str, ServerConnection] = {}
        self._quotes = {symbol: [_quote(symbol, n) for n in range(2)] for symbol in symbols}

    async def serve(self, socket: ServerConnection) -> None:
        """Take note of what a connection subscribes to, until it ends."""
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                for name in orjson.loads(message)["params"]:
                    self._sockets[name.split("@")[0].upper()] = socket

    def ready(self) -> bool:
        """Whether every symbol was subscribed to."""
        return len(self._sockets) == len(self._symbols)

    def send(self, frames: list[tuple[str, bytes]]) -> None:
        """Send frames, those of a connection in one write."""
        by_socket: dict[ServerConnection, list[bytes]] = {}
        for symbol, frame in frames:
            by_socket.setdefault(self._sockets[symbol], []).append(frame)
        for socket, those in by_socket.items():
            socket.transport.write(b"".join(those))

    async def quotes(self, rate: float) -> None:
        """Send so many a second, in turns."""
        sent, started = 0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            due = int((time.monotonic() - started) * rate)
            due, late = min(due, sent + 2_000), due
            count = len(self._symbols)
            self.send(
                [
                    (s, self._quotes[s][k // count % 2])
                    for k in range(sent, due)
                    if (s := self._symbols[k % count])
                ]
            )
            sent = late

    async def minute(self, n: int, seconds: float) -> tuple[float, float]:
        """Send a minute's final frames in a random order; return when the first and the last went."""
        order = np.random.default_rng(n).permutation(len(self._symbols)).tolist()
        frames = [
            (self._symbols[i], _frame(final(self._symbols[i], self._minutes[i % PATHS][HISTORY + n])))
            for i in order
        ]
        started, sent, now = time.monotonic(), 0, 0.0
        while sent < len(frames):
            due = max(1, min(len(frames), int((time.monotonic() - started) / seconds * len(frames))))
            now = time.monotonic()
            self.send(frames[sent:due])
            sent = due
            if sent < len(frames):
                await asyncio.sleep(_TICK)
        return started, now


def exchange(pipe: Pipe, symbols: list[str], minutes: int, quotes: float, seconds: float) -> None:
    """Serve until the pipe ends; each message on it is a minute's number, the answer two times."""

    async def run() -> None:
        market = Exchange(symbols, minutes)
        loop = asyncio.get_running_loop()
        async with serve(market.serve, "127.0.0.1", 0, compression=None, ping_interval=5) as server:
            pipe.send(next(iter(server.sockets)).getsockname()[1])
            while not market.ready():  # noqa: ASYNC110 - what is measured must not wait for us
                await asyncio.sleep(0.05)
            pipe.send("ready")
            sending = asyncio.create_task(market.quotes(quotes))
            while (n := await loop.run_in_executor(None, pipe.recv)) is not None:
                pipe.send(await market.minute(n, seconds))
            sending.cancel()

    uvloop.run(run())

"""A market in a process of its own: pre-encoded frames, as fast as a socket takes them or evenly paced.

Who connects and subscribes to anything gets all of it, once, from the beginning; then the socket stays open
and says nothing more. Nothing is encoded while it sends, so that the reader is what is measured. ``sending``
starts it and yields its address, for ours and for peers alike.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import orjson
import uvloop

from benchmarks.connection import Connection, wire
from marketdata.models import MINUTE_MS

T0: Final = 1_679_616_000_000
"""Open of the first minute sent, Unix ms."""
Kind = Literal["kline", "book", "mixed"]


@dataclass(frozen=True)
class Market:
    """What is sent: ``minutes`` final candles of each of ``symbols`` symbols, a minute of all after another.

    ``book``: that many quotes take each candle's place; ``mixed``: they come before it. ``rate`` is in frames
    a second, 0 for as fast as possible; ``quotes`` are a candle's.
    """

    symbols: int = 100
    minutes: int = 1000
    kind: Kind = "kline"
    quotes: int = 0
    rate: float = 0.0

    @property
    def names(self) -> list[str]:
        """The symbols; the first is the one that all others are compared with."""
        return ["BTCUSDT", *(f"S{n:04d}USDT" for n in range(1, self.symbols))]

    @property
    def candles(self) -> int:
        """How many final candles are sent."""
        return 0 if self.kind == "book" else self.symbols * self.minutes

    @property
    def updates(self) -> int:
        """How many quotes are sent."""
        return 0 if self.kind == "kline" else self.symbols * self.minutes * self.quotes


def kline(symbol: str, minute: int) -> bytes:
    """Return the final kline frame of the ``minute``-th minute as the exchange sends it."""
    time_ms = T0 + minute * MINUTE_MS
    cents = (minute * 7 + len(symbol)) % 1000 / 100
    k = {
        "t": time_ms, "T": time_ms + 59_999, "s": symbol, "i": "1m", "f": 7130470413, "L": 7130471247,
        "o": f"{76421.07 + cents:.8f}", "c": f"{76408.36 + cents:.8f}", "h": f"{76421.08 + cents:.8f}",
        "l": f"{76408.35 + cents:.8f}", "v": "2.62202000", "n": 835, "x": True, "q": "200365.91000000",
        "V": "1.10000000", "Q": "84055.10000000", "B": "0",
    }  # fmt: skip
    data = {"e": "kline", "E": time_ms + 60_019, "s": symbol, "k": k}
    return orjson.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data})


def quote(symbol: str, number: int) -> bytes:
    """Return a bookTicker frame as the exchange sends it."""
    data = {
        "u": 400900217 + number, "s": symbol, "b": f"{76400 + number % 97 / 100:.8f}", "B": "3.10000000",
        "a": f"{76401 + number % 89 / 100:.8f}", "A": "0.52000000",
    }  # fmt: skip
    return orjson.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data})


def messages(market: Market) -> Iterator[bytes]:
    """Yield what is sent, in order."""
    for minute in range(market.minutes):
        for number in range(market.quotes if market.kind != "kline" else 0):
            for symbol in market.names:
                yield quote(symbol, minute * market.quotes + number)
        if market.kind != "book":
            for symbol in market.names:
                yield kline(symbol, minute)


async def even(due: float) -> None:
    """Return at ``due`` (``time.perf_counter``), or at once if it is past.

    The event loop's timers are a millisecond coarse: of a thousand a second every seventh would come together
    with the next.
    """
    await asyncio.sleep(0)
    time.sleep(max(0.0, due - time.perf_counter()))  # noqa: ASYNC251 - nothing else runs here


class _Reader(Connection):
    """One connection, with a market of its own that its first subscription starts."""

    def __init__(self, frames: list[bytes], rate: float) -> None:
        super().__init__()
        self._frames, self._rate = frames, rate
        self._sending: asyncio.Task[None] | None = None

    def subscribed(self) -> None:
        if self._sending is None:
            self._sending = asyncio.create_task(self._paced() if self._rate else self.flood(self._frames))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _paced(self) -> None:
        # A little after the acknowledgement: the reader is ready for the first as for the last.
        started = time.perf_counter() + 0.2
        for number, frame in enumerate(self._frames):
            await even(started + number / self._rate)
            await self.room.wait()
            self.transport.write(frame)


async def _serve(market: Market) -> None:
    frames = [wire(message) for message in messages(market)]
    server = await asyncio.get_running_loop().create_server(
        partial(_Reader, frames, market.rate), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # Until whoever started it closes our standard input.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def sending(market: Market) -> AsyncIterator[str]:
    """Start the sender; yields its ``ws://`` address once every frame is encoded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sender", "--symbols", str(market.symbols),
        "--minutes", str(market.minutes), "--kind", market.kind, "--quotes", str(market.quotes),
        "--rate", str(market.rate),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = (await process.stdout.readline()).decode().strip()
        if not port:
            raise RuntimeError("the sender ended before it listened")
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


def main() -> None:
    """Listen on a free port of this machine, print it, and send until standard input closes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=1000)
    parser.add_argument("--kind", choices=("kline", "book", "mixed"), default="kline")
    parser.add_argument("--quotes", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    uvloop.run(_serve(Market(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()

"""Puts source, clock, streams and HTTP together and runs them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType

from exchange_simulator.clock import MarketClock, wall_seconds
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.faults import Faults
from exchange_simulator.market import Market
from exchange_simulator.rest.app import build_app
from exchange_simulator.rest.server import HttpServer
from exchange_simulator.rows import DAY_MS, OPEN_TIME
from exchange_simulator.source.protocol import Source
from exchange_simulator.source.replay import ReplaySource
from exchange_simulator.source.seeded import SeededSource
from exchange_simulator.streams.hub import Hub
from exchange_simulator.streams.publisher import Publisher
from exchange_simulator.streams.server import StreamServer
from marketdata.models import Candle

# Market time stops this long after its end, so that the last final frames are still sent.
_LAST_FRAMES_MS = 1000
_SEEDED_SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Simulator:
    """An exchange on this machine: ``async with Simulator(config) as sim``.

    ``clock`` and ``faults`` may be used directly while it runs. Raises SourceError when recorded
    data can't be read and OSError when a port is taken.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        source, start, end = _open(config)
        self.clock = MarketClock(start, config.speed, end)
        self.market = Market(source)
        self.hub = Hub(
            on_audience=lambda present: self.clock.set_audience(present or not config.wait_for_subscribers),
            bounded=lambda: self.clock.speed is not None,
        )
        self.clock.set_audience(not config.wait_for_subscribers)
        self.faults = Faults(self.clock, self.market, self.hub)
        self._publisher = Publisher(self.clock, self.market, self.hub, config, self.faults.distort)
        self.faults.publisher = self._publisher
        self._streams = StreamServer(config, self.clock, self.hub, self.faults.refusal, self.faults.greet)
        self._http = HttpServer(build_app(config, self.clock, self.market, self.hub, self.faults))
        self._publishing: asyncio.Task[None] | None = None
        self.stream_url = ""
        self.api_url = ""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments on offer."""
        return self.market.symbols

    def candles(self, symbol: str, start_ms: int, end_ms: int) -> list[Candle]:
        """Final candles opening in [start, end) that exist by now: what a perfect reader has stored."""
        return self.market.candles(symbol, start_ms, end_ms, self.clock.now_ms())

    async def __aenter__(self) -> Simulator:
        """Start serving."""
        # Made before anyone connects: the first event would otherwise stall everybody while it is made.
        for symbol in self.symbols:
            self.market.source.day(symbol, self.clock.now_ms() // DAY_MS)
        streaming = _listen(self.config.host, self.config.stream_port)
        serving = _listen(self.config.host, self.config.http_port)
        await self._streams.start(streaming)
        await self._http.start(serving)
        self.stream_url = f"ws://{_address(streaming)}"
        self.api_url = f"http://{_address(serving)}"
        self._publishing = asyncio.create_task(self._publisher.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving; a publisher that failed raises here."""
        publishing = self._publishing
        assert publishing is not None
        publishing.cancel()
        await self._streams.stop()
        await self._http.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing

    async def run(self) -> None:
        """Keep serving until cancelled or the publisher fails. Use inside ``async with``."""
        assert self._publishing is not None
        await self._publishing


def _open(config: SimulatorConfig) -> tuple[Source, int, int | None]:
    """The source, and market time's start and end in Unix ms."""
    if config.seed is not None:
        start = int(wall_seconds() * 1000) if config.start_ms is None else config.start_ms
        symbols = config.symbols or _SEEDED_SYMBOLS
        end = None if config.end_ms is None else config.end_ms + _LAST_FRAMES_MS
        return SeededSource(config.seed, symbols, start // DAY_MS - config.history_days), start, end
    replay = ReplaySource(config.replay, config.symbols)
    first = min(replay.first_day(symbol) for symbol in replay.symbols)
    last = max(replay.last_day(symbol) or first for symbol in replay.symbols)
    end = (last + 1) * DAY_MS
    if config.end_ms is not None:
        end = min(end, config.end_ms)
    end += _LAST_FRAMES_MS
    if config.start_ms is not None:
        return replay, config.start_ms, end
    tables = [day.table for symbol in replay.symbols if (day := replay.day(symbol, first))]
    return (
        replay,
        min((int(table[0, OPEN_TIME]) for table in tables if len(table)), default=first * DAY_MS),
        end,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=1024)
    # Inherited by accepted connections; without it each HTTP answer waits 40 ms for a delayed ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

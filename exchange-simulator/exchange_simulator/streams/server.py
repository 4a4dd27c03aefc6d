"""The WebSocket server: accepts, refuses, pings and retires connections."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from exchange_simulator.clock import MarketClock, monotonic
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.streams.connection import Session, StreamConnection
from exchange_simulator.streams.hub import Hub
from exchange_simulator.streams.target import parse_target

_ATTEMPT_WINDOW_S = 300.0
# At max speed everything unread is market time the reader lags behind, so little is buffered.
_WRITE_HIGH_WATER = 64 * 1024
_MAX_SPEED_SEND_BUFFER = 128 * 1024

Refusal = Callable[[], int | None]
"""Asked for each new connection: None lets it in, 0 resets it, anything else is an HTTP status."""
Greet = Callable[[Session], None]
"""Told of each connection that was let in, before it is served."""


class StreamServer:
    """Serves `/ws` and `/stream`."""

    def __init__(
        self, config: SimulatorConfig, clock: MarketClock, hub: Hub, refuse: Refusal, greet: Greet
    ) -> None:
        self._config = config
        self._clock = clock
        self._hub = hub
        self._refuse = refuse
        self._greet = greet
        self._attempts: dict[str, deque[float]] = {}
        self._server: Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serve on an open socket."""
        config = self._config

        class Limited(StreamConnection):
            messages_per_second = config.messages_per_second

        logger = logging.getLogger("exchange_simulator.websockets")
        logger.setLevel(logging.CRITICAL)
        self._server = await serve(
            self._run,
            sock=listening,
            process_request=self._admit,
            create_connection=Limited,
            compression=None,
            ping_interval=config.ping_interval_s,
            ping_timeout=config.pong_deadline_s,
            close_timeout=1.0,
            write_limit=_WRITE_HIGH_WATER,
            server_header=None,
            logger=logger,
        )

    async def stop(self) -> None:
        """Reset every connection and stop listening."""
        if self._server is not None:
            for connection in list(self._server.connections):
                connection.transport.abort()
            self._server.close()
            await self._server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        status = self._refuse()
        if status == 0:
            connection.transport.abort()
            return connection.respond(503, "")
        if status is not None:
            return connection.respond(status, "")
        if self._too_many(connection):
            return connection.respond(429, "Too many connection attempts\n")
        if parse_target(request.path) is None:
            return connection.respond(404, "")
        return None

    def _too_many(self, connection: ServerConnection) -> bool:
        now = monotonic()
        attempts = self._attempts.setdefault(str(connection.remote_address[0]), deque())
        attempts.append(now)
        while attempts[0] < now - _ATTEMPT_WINDOW_S:
            attempts.popleft()
        return len(attempts) > self._config.connections_per_5_minutes

    async def _run(self, connection: ServerConnection) -> None:
        assert isinstance(connection, StreamConnection)
        assert connection.request is not None
        target = parse_target(connection.request.path)
        assert target is not None
        if self._clock.speed is None:
            raw = connection.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_SPEED_SEND_BUFFER)
        session = Session(connection, target, self._hub, self._config)
        self._greet(session)
        await session.run()

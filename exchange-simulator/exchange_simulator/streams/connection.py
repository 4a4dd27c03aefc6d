"""One reader: its subscriptions, its message allowance and its unsent bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as ProtocolFrame
from websockets.frames import Opcode
from websockets.protocol import State

from exchange_simulator.clock import monotonic
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.streams.commands import (
    RefusalError,
    check_get_property,
    new_combined,
    parse_command,
    stream_names,
)
from exchange_simulator.streams.frames import COMBINED, MICROSECONDS, Frame
from exchange_simulator.streams.hub import Hub
from exchange_simulator.streams.target import Target
from exchange_simulator.streams.wire import text_message

_COUNTED = (Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG)
POLICY_VIOLATION = 1008

Snapshot = Callable[[str], Frame | None]
"""The frame a stream begins with, by the stream's name."""


class StreamConnection(ServerConnection):
    """A WebSocket connection that counts every incoming message as Binance does, pongs included."""

    messages_per_second = 5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received: deque[float] = deque()
        self.stuck = False
        """Whether it plays dead: deaf and dumb, but open, until the reader hangs up."""

    def stop_pings(self) -> None:
        """Ping this reader no more, and don't miss its pongs."""
        if self.keepalive_task is not None:
            self.keepalive_task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in what the reader sent, unless stuck."""
        if not self.stuck:
            super().data_received(data)

    def send_data(self) -> None:
        """Send what the protocol has to say, unless stuck."""
        if self.stuck:
            self.protocol.data_to_send()
        else:
            super().send_data()

    def process_event(self, event: Any) -> None:
        """Look at each frame before `websockets` does."""
        if isinstance(event, ProtocolFrame) and event.opcode in _COUNTED:
            now = monotonic()
            self._received.append(now)
            while self._received[0] <= now - 1.0:
                self._received.popleft()
            if len(self._received) > self.messages_per_second and self.state is State.OPEN:
                self.protocol.fail(POLICY_VIOLATION, "Too many requests")
                self.send_data()
                # Binance doesn't wait for a misbehaving client's close frame either.
                self.loop.call_later(0.05, self.transport.abort)
                return
        super().process_event(event)


class Session:
    """The life of one connection after its handshake."""

    def __init__(
        self, connection: StreamConnection, target: Target, hub: Hub, config: SimulatorConfig
    ) -> None:
        self.pending: list[bytes] = []
        self.variant = COMBINED * target.combined | MICROSECONDS * target.microseconds
        self.connection = connection
        self.target = target
        self.silent = False
        """Whether subscriptions are acknowledged and then forgotten."""
        self.snapshots: list[Snapshot] = []
        """What is sent right after a subscription, ahead of the stream."""
        self._streams: dict[str, None] = {}
        self._hub = hub
        self._config = config

    @property
    def streams(self) -> list[str]:
        """Names subscribed to, in order."""
        return list(self._streams)

    async def run(self) -> None:
        """Serve until either side closes or the connection is too old."""
        loop = asyncio.get_running_loop()
        old_age = loop.call_later(self._config.connection_lifetime_s, self.hang_up)
        self._hub.join(self)
        try:
            if len(self.target.streams) > self._config.streams_per_connection:
                await self.connection.close(POLICY_VIOLATION, "Too many streams")
                return
            self._subscribe(list(self.target.streams))
            self._send_snapshots(list(self.target.streams))
            async for message in self.connection:
                before = set(self._streams)
                self.pending.append(text_message(self.answer(message)))
                self._send_snapshots([name for name in self._streams if name not in before])
        except ConnectionClosed:
            return
        finally:
            old_age.cancel()
            self._hub.leave(self, self._streams)

    def answer(self, message: str | bytes) -> bytes:
        """Carry out a control message; the answer is never wrapped."""
        try:
            command = parse_command(message)
            result: object = None
            match command.method:
                case "SUBSCRIBE":
                    names = stream_names(command)
                    if len(self._streams.keys() | set(names)) > self._config.streams_per_connection:
                        raise RefusalError(2, "Invalid request: too many streams", command.id)
                    self._subscribe(names)
                case "UNSUBSCRIBE":
                    for name in stream_names(command):
                        if name in self._streams:
                            del self._streams[name]
                            self._hub.unsubscribe(self, name)
                case "LIST_SUBSCRIPTIONS":
                    result = self.streams
                case "SET_PROPERTY":
                    combined = new_combined(command)
                    self.variant = self.variant & ~COMBINED | COMBINED * combined
                case _:
                    check_get_property(command)
                    result = bool(self.variant & COMBINED)
            return orjson.dumps({"result": result, "id": command.id})
        except RefusalError as refusal:
            return orjson.dumps(refusal.body)

    def flush(self, bounded: bool) -> None:
        """Write what is pending. With ``bounded`` a reader too far behind is cut off."""
        data = b"".join(self.pending)
        self.pending.clear()
        connection = self.connection
        if connection.state is not State.OPEN or connection.stuck:
            return
        transport = connection.transport
        transport.write(data)
        if bounded and transport.get_write_buffer_size() > self._config.max_buffered_bytes:
            transport.abort()

    async def drained(self) -> None:
        """Return when the socket has room again or is closed."""
        with contextlib.suppress(ConnectionError, ConnectionClosed):
            await self.connection.drain()

    def abort(self) -> None:
        """Reset the TCP connection, as a dying host does."""
        self.connection.transport.abort()

    def hang_up(self, code: int = 1001, reason: str = "") -> None:
        """Start a clean close without waiting for it."""
        connection = self.connection
        if connection.state is State.OPEN:
            connection.protocol.send_close(code, reason)
            connection.send_data()
            connection.loop.call_later(1.0, connection.transport.abort)

    def _subscribe(self, names: list[str]) -> None:
        for name in names:
            self._streams[name] = None
            if not self.silent:
                self._hub.subscribe(self, name)

    def _send_snapshots(self, names: list[str]) -> None:
        """Send what is pending, and behind it the first frame of each stream just subscribed to."""
        frames = [frame for name in names for snapshot in self.snapshots if (frame := snapshot(name))]
        self.pending += [frame.wire(self.variant) for frame in frames]
        if self.pending:
            self.flush(False)

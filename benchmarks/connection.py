"""A connection as an exchange has it, by the half of ``websockets`` that does no I/O: nothing stands between
a sender and the socket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Final, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

WRITE_BYTES: Final = 1 << 18


def wire(message: bytes) -> bytes:
    """Return a message as a server's text frame."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)


class Connection(asyncio.Protocol):
    """Answers handshakes, pings, closes and subscriptions; ``room`` is set while ``transport`` takes more."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.protocol = ServerProtocol()
        self.room = asyncio.Event()
        self.room.set()

    def subscribed(self) -> None:
        """Called at each subscription, by the address or by a message."""
        raise NotImplementedError

    def requested(self, request: Request) -> None:
        """Answer a request: with the handshake."""
        self.protocol.send_response(self.protocol.accept(request))
        if "streams=" in request.path or "/ws/" in request.path:
            self.subscribed()

    async def flood(self, frames: Sequence[bytes]) -> None:
        """Send frames as fast as they are taken."""
        step = max(1, WRITE_BYTES // len(frames[0]))
        for first in range(0, len(frames), step):
            await self.room.wait()
            self.transport.write(b"".join(frames[first : first + step]))
            # Pings are answered, and closes seen, between writes.
            await asyncio.sleep(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's is none of asyncio's classes, though it has their methods.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(4 * WRITE_BYTES)

    def data_received(self, data: bytes) -> None:
        """Answer what came."""
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.requested(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                asked = json.loads(bytes(event.data))
                self.protocol.send_text(json.dumps({"result": None, "id": asked.get("id")}).encode())
                self.subscribed()
        for out in self.protocol.data_to_send():
            if out:
                self.transport.write(out)
            else:
                self.transport.close()

    def pause_writing(self) -> None:
        """The transport has enough."""
        self.room.clear()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.room.set()

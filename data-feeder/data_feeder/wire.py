"""A socket's bytes to its messages, many at a time.

This is ``websockets``' connection with a short cut. Nearly all that arrives are whole, unmasked,
unfragmented data frames: they are cut out of what was received at once, at a tenth of what the library
takes for a frame. Everything else (the handshake, pings, closes, fragments, what is malformed or too large)
is the library's, frame by frame and in order.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import CONNECTING, OPEN

UNREAD_MOST: Final = 1024
"""Messages that wait for the reader before the socket is left unread."""
_FRAGMENTS_MOST: Final = 4096
_WHOLE: Final = (0x81, 0x82)
"""First bytes (RFC 6455, 5.2) of a whole text or binary message in one frame, no extension."""
_HEADER_END: Final = b"\r\n\r\n"


class Wire(ClientConnection):
    """A connection whose messages are taken by ``receive``; ``recv`` has none."""

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._size_most: int = protocol.max_message_size or (1 << 63)
        self._messages: list[bytes] = []
        self._fragments: list[bytes] = []
        self._rest = b""
        """The beginning of a frame whose end has not arrived."""
        self._waiter: asyncio.Future[None] | None = None
        self._unread = False

    async def receive(self) -> list[bytes]:
        """Return every message that has arrived, at least one.

        Raises ``ConnectionClosed`` when there is none and the connection has ended.
        """
        while not self._messages:
            if self.connection_lost_waiter.done():
                raise self.close_exc
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        messages, self._messages = self._messages, []
        if self._unread:
            self._unread = False
            self.transport.resume_reading()
        return messages

    def data_received(self, data: bytes) -> None:
        """Take what the transport read."""
        if self.protocol.state is CONNECTING:
            data = self._handshake(data)
        elif self._rest:
            data, self._rest = self._rest + data, b""
        if data:
            self._cut(data)
        if self._messages:
            self._wake()
            if len(self._messages) > UNREAD_MOST and not self._unread:
                self._unread = True
                self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: what has arrived can still be received."""
        super().connection_lost(exc)
        self._wake()

    def process_event(self, event: Any) -> None:
        """Take what the library parsed."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif len(self._fragments) >= _FRAGMENTS_MOST:
            self.protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            self.send_data()
        else:
            self._fragments.append(bytes(event.data))
            if event.fin:
                self._messages.append(b"".join(self._fragments))
                self._fragments.clear()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _handshake(self, data: bytes) -> bytes:
        """Give the library its response, and return what follows."""
        seen = self._rest + data
        end = seen.find(_HEADER_END)
        if end < 0 or self.response is not None:
            self._rest = seen[-3:]
            super().data_received(data)
            return b""
        used = len(data) - (len(seen) - end - len(_HEADER_END))
        self._rest = b""
        super().data_received(data[:used])
        return data[used:]

    def _cut(self, data: bytes) -> None:
        """Cut whole frames out of ``data``; the beginning of another is kept for later."""
        protocol, add = self.protocol, self._messages.append
        at, end, most = 0, len(data), self._size_most
        plain = protocol.current_size is None
        while at < end:
            if protocol.state is not OPEN:
                super().data_received(data[at:])
                return
            if end - at < 2:
                break
            first, size, start = data[at], data[at + 1], at + 2
            if size == 126:
                if end - at < 4:
                    break
                size, start = data[at + 2] << 8 | data[at + 3], at + 4
            elif size == 127:
                if end - at < 10:
                    break
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            stop = start + size
            if size > most or data[at + 1] > 127:
                # Too large, or masked: the header is enough for the library to refuse it.
                super().data_received(data[at:start])
                at = start
            elif stop > end:
                break
            else:
                if plain and first in _WHOLE:
                    add(data[start:stop])
                else:
                    super().data_received(data[at:stop])
                    plain = protocol.current_size is None
                at = stop
        self._rest = data[at:]

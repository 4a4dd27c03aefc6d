"""What comes off a socket is what ``websockets``' own connection makes of the same bytes, however cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from data_feeder.wire import UNREAD_MOST, Wire

MOST = 70_000
MASK = b"\x81\x85abcdhello"
RESERVED = b"\x83\x00"
UNFINISHED = b"\x01\x02ab"
TOO_LARGE = b"\x81\x7f" + (MOST + 1).to_bytes(8)


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


class Transport(asyncio.Transport):
    """Keeps what is written, and whether the socket is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        return

    def can_write_eof(self) -> bool:
        return True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connected(kind: type[ClientConnection]) -> tuple[ClientConnection, Transport, bytes]:
    """A connection that has asked for the handshake, and the server's answer to it."""
    protocol = ClientProtocol(parse_uri("ws://localhost/"), max_size=MOST)
    connection, transport = kind(protocol, ping_interval=None, max_queue=None), Transport()
    connection.connection_made(transport)
    request = protocol.connect()
    protocol.send_request(request)
    server = ServerProtocol()
    server.receive_data(b"".join(protocol.data_to_send()))
    (asked,) = server.events_received()
    server.send_response(server.accept(asked))  # type: ignore[arg-type]
    return connection, transport, b"".join(server.data_to_send())


async def outcome(kind: type[ClientConnection], data: bytes, cuts: list[int]) -> tuple[Any, ...]:
    """What a connection makes of ``data`` after its handshake: messages, answers and its end."""
    connection, transport, response = connected(kind)
    data = response + data
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, end in pairwise(edges):
        connection.data_received(data[start:end])
    state = connection.protocol.state
    answers = ServerProtocol(state=State.OPEN)
    answers.receive_data(transport.written)
    said = [
        (event.opcode, bytes(event.data)) for event in answers.events_received() if isinstance(event, Frame)
    ]
    connection.eof_received()
    connection.connection_lost(None)
    messages: list[bytes] = []

    async def receive_all() -> None:
        while True:
            if isinstance(connection, Wire):
                messages.extend(await connection.receive())
            else:
                messages.append(await connection.recv(decode=False))

    with pytest.raises(ConnectionClosed) as ended:
        await receive_all()
    return messages, said, state, ended.value.rcvd, ended.value.sent


SIZES = st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536])
PARTS = st.one_of(
    st.builds(lambda size: frame(Opcode.TEXT, b"t" * size), SIZES),
    st.builds(lambda size: frame(Opcode.BINARY, b"b" * size), SIZES),
    st.builds(lambda data: frame(Opcode.PING, data), st.binary(max_size=3)),
    st.just(frame(Opcode.PONG, b"unasked")),
    st.just(frame(Opcode.TEXT, b"one ", fin=False) + frame(Opcode.PING, b"x") + frame(Opcode.CONT, b"two")),
)
ENDS = st.sampled_from(
    [
        b"", MASK, RESERVED, TOO_LARGE, UNFINISHED, frame(Opcode.CONT, b"of nothing"), b"\x81",
        UNFINISHED + frame(Opcode.TEXT, b"in the middle of another"), b"\xc1\x01x",
        frame(Opcode.CLOSE, b"\x03\xe8bye") + frame(Opcode.TEXT, b"too late"),
        frame(Opcode.TEXT, b"a" * 40_000, fin=False) + frame(Opcode.CONT, b"b" * 40_000),
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=6), ENDS, st.lists(st.integers(0, 400_000), max_size=12))
def test_it_is_what_the_library_makes_of_the_same_bytes(
    parts: list[bytes], end: bytes, cuts: list[int]
) -> None:
    async def compare() -> None:
        data = b"".join(parts) + end
        assert await outcome(Wire, data, cuts) == await outcome(ClientConnection, data, cuts)

    asyncio.run(compare())


async def test_every_cut_of_the_handshake_and_the_first_frames() -> None:
    data = frame(Opcode.TEXT, b"first") + frame(Opcode.PING, b"!") + frame(Opcode.TEXT, b"s" * 200)
    _, _, response = connected(Wire)
    for cut in range(1, len(response) + len(data)):
        messages, said, *_ = await outcome(Wire, data, [cut])
        assert messages == [b"first", b"s" * 200], cut
        assert said == [(Opcode.PONG, b"!")], cut


async def test_a_reader_that_does_not_come_leaves_the_socket_unread() -> None:
    connection, transport, response = connected(Wire)
    assert isinstance(connection, Wire)
    connection.data_received(response)
    connection.data_received(frame(Opcode.TEXT, b"x") * UNREAD_MOST)
    assert transport.reading
    connection.data_received(frame(Opcode.TEXT, b"x"))
    assert not transport.reading
    assert len(await connection.receive()) == UNREAD_MOST + 1
    assert transport.reading


async def test_too_many_fragments_end_the_connection() -> None:
    connection, _, response = connected(Wire)
    connection.data_received(response)
    connection.data_received(frame(Opcode.TEXT, b"", fin=False) + frame(Opcode.CONT, b"", fin=False) * 4200)
    assert connection.protocol.state is State.CLOSING
    assert connection.protocol.close_sent is not None
    assert connection.protocol.close_sent.code == 1009


@pytest.mark.parametrize("together", [0, 1, 2])
async def test_a_refused_handshake_is_read_however_it_is_cut(together: int) -> None:
    connection, _, _ = connected(Wire)
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\n"
    connection.data_received(head + b"sorry!"[:together])
    connection.data_received(b"sorry!"[together:])
    assert connection.response is not None
    assert connection.response.body == b"sorry!"

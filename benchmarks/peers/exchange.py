"""The exchange of the live comparison, a process of its own: final kline frames over TLS, and a list of
symbols.

Over TLS because the exchange is, and ``cryptofeed`` takes nothing else; all programs get the same. The first
who subscribes (by the address or by a message) gets every frame once, encoded beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from benchmarks.peers.market import Market, exchange_info

_WRITE_BYTES: Final = 1 << 18
_READY_SECONDS: Final = 0.5
"""From the subscription to the first frame: whoever subscribed is reading by then."""


def make_certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1, with its key, into ``folder``; ``SSL_CERT_FILE`` trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "exchange.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _wire(message: str) -> bytes:
    return Frame(Opcode.TEXT, message.encode()).serialize(mask=False)


class _Sender:
    """Sends the market once, to the first who asks, and remembers when (monotonic seconds)."""

    def __init__(self, market: Market) -> None:
        self.frames = [b"".join(map(_wire, burst)) for burst in market.bursts()]
        self.rate = market.rate
        self.info = exchange_info(market.names)
        self.task: asyncio.Task[None] | None = None
        self.sent: list[float] = []

    def start(self, reader: _Reader) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self._send(reader))

    async def _send(self, reader: _Reader) -> None:
        await asyncio.sleep(_READY_SECONDS)
        started = time.monotonic()
        print(json.dumps({"started": started}), flush=True)
        if self.rate:
            for number, frame in enumerate(self.frames):
                await asyncio.sleep(max(0.0, started + number / self.rate - time.monotonic()))
                self.sent.append(time.monotonic())
                reader.transport.write(frame)
        else:
            step = max(1, _WRITE_BYTES // len(self.frames[0]))
            for first in range(0, len(self.frames), step):
                await reader.room.wait()
                reader.transport.write(b"".join(self.frames[first : first + step]))
                await asyncio.sleep(0)
        print(json.dumps({"sent": self.sent}), flush=True)


class _Reader(asyncio.Protocol):
    """One connection, by the half of ``websockets`` that does no I/O: it answers pings and requests."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._protocol = ServerProtocol()
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none of asyncio's classes, though it has their methods.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(4 * _WRITE_BYTES)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._request(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                asked = json.loads(bytes(event.data))
                self._protocol.send_text(json.dumps({"result": None, "id": asked.get("id")}).encode())
                self._sender.start(self)
        for out in self._protocol.data_to_send():
            if out:
                self.transport.write(out)
            else:
                self.transport.close()

    def _request(self, request: Request) -> None:
        if request.headers.get("Upgrade"):
            self._protocol.send_response(self._protocol.accept(request))
            if "streams=" in request.path:
                self._sender.start(self)
            return
        body = (self._sender.info if "exchangeInfo" in request.path else "{}").encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)),
                           "Connection": "close"})  # fmt: skip
        self._protocol.send_response(Response(200, "OK", headers, body))

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()


async def _serve(market: Market, certificate: Path) -> None:
    loop, sender = asyncio.get_running_loop(), _Sender(market)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    stream = await loop.create_server(partial(_Reader, sender), "127.0.0.1", 0, ssl=context)
    plain = await loop.create_server(partial(_Reader, sender), "127.0.0.1", 0)
    ports = [server.sockets[0].getsockname()[1] for server in (stream, plain)]
    print(
        json.dumps({"stream": f"wss://127.0.0.1:{ports[0]}", "api": f"http://127.0.0.1:{ports[1]}"}),
        flush=True,
    )
    # Until whoever started it closes our standard input.
    await loop.run_in_executor(None, sys.stdin.read)


@dataclass
class Exchange:
    """A running exchange: its addresses, and what it says of its sending."""

    stream: str
    api: str
    _said: asyncio.StreamReader

    async def started(self) -> float:
        """Wait for the first frame; return when it was sent, monotonic seconds."""
        return float((await _line(self._said))["started"])

    async def sent(self) -> list[float]:
        """Wait for the last frame; return when each was sent, of a market with a rate."""
        times: list[float] = (await _line(self._said))["sent"]
        return times


async def _line(said: asyncio.StreamReader) -> dict[str, Any]:
    line = await said.readline()
    if not line:
        raise RuntimeError("the exchange has ended; its own words are above")
    found: dict[str, Any] = json.loads(line)
    return found


@asynccontextmanager
async def serving(market: Market, certificate: Path) -> AsyncIterator[Exchange]:
    """Run an exchange; yields it once every frame is encoded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.peers.exchange", "--symbols", str(market.symbols),
        "--minutes", str(market.minutes), "--rate", str(market.rate), "--certificate", str(certificate),
        *(["--troubled"] if market.troubled else []),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        addresses = await _line(process.stdout)
        yield Exchange(addresses["stream"], addresses["api"], process.stdout)
    finally:
        process.stdin.close()
        await process.wait()


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, required=True)
    parser.add_argument("--minutes", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--troubled", action="store_true")
    parser.add_argument("--certificate", type=Path, required=True)
    chosen = vars(parser.parse_args())
    certificate = chosen.pop("certificate")
    uvloop.run(_serve(Market(**chosen), certificate))


if __name__ == "__main__":
    main()

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
from typing import Any, Final

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from benchmarks.connection import Connection, wire
from benchmarks.peers.market import Market, exchange_info

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


class _Sender:
    """Sends the market once, to the first who asks, and remembers when (monotonic seconds)."""

    def __init__(self, market: Market) -> None:
        self.frames = [b"".join(wire(frame.encode()) for frame in burst) for burst in market.bursts()]
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
            await reader.flood(self.frames)
        print(json.dumps({"sent": self.sent}), flush=True)


class _Reader(Connection):
    """One connection of the stream or of REST."""

    def __init__(self, sender: _Sender) -> None:
        super().__init__()
        self._sender = sender

    def subscribed(self) -> None:
        self._sender.start(self)

    def requested(self, request: Request) -> None:
        if request.headers.get("Upgrade"):
            super().requested(request)
            return
        body = (self._sender.info if "exchangeInfo" in request.path else "{}").encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)),
                           "Connection": "close"})  # fmt: skip
        self.protocol.send_response(Response(200, "OK", headers, body))


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

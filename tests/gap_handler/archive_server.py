"""A folder of archive files on a real socket, which a test fills, damages and makes misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exchange_simulator import Simulator
from gap_handler.archive.files import File
from marketdata.binance.rest import SIMULATOR_HEADER
from marketdata.http import bind, server

Misbehave: TypeAlias = Callable[[str], Response | float | None]
"""Given a path: an answer to send instead of the file, seconds to wait before it, or nothing special."""


class ArchiveServer:
    """What is asked for is in ``asked``; what is not in ``folder`` is a 404."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.asked: list[str] = []
        self.headers = {SIMULATOR_HEADER: "1"}
        self.misbehave: Misbehave = lambda path: None

    def path(self, file: File) -> Path:
        """Where a file lies."""
        return self.folder / file.path.lstrip("/")

    def publish(self, file: File, content: bytes, *, checksum_of: bytes | None = None) -> None:
        """Put a zip and its checksum in place; ``checksum_of`` makes it the checksum of something else."""
        path = self.path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content if checksum_of is None else checksum_of).hexdigest()
        path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n")

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path.rsplit("/", 1)[1])
        special = self.misbehave(path)
        if isinstance(special, Response):
            return special
        if special is not None:
            await asyncio.sleep(special)
        place = self.folder / path.lstrip("/")
        if not place.is_file():
            return Response("<Error><Code>NoSuchKey</Code></Error>", 404)
        return Response(place.read_bytes(), 200, self.headers)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[ArchiveServer]:
    """Serve a folder until the end of the ``async with``."""
    files = ArchiveServer(folder)
    listening = bind("127.0.0.1", 0, "PORT")
    running = server(Starlette(routes=[Route("/{path:path}", files.answer)]))
    files.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    task = asyncio.create_task(running.serve(sockets=[listening]))
    try:
        yield files
    finally:
        running.should_exit = True
        await task


async def copy(simulator: Simulator, file: File) -> bytes:
    """Return the simulator's own zip."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(simulator.api_url + file.path)
    assert answer.status_code == 200, file.path
    return answer.content


def lines_of(content: bytes, file: File) -> list[bytes]:
    """Return the lines in a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(f"{file.stem}.csv").splitlines()


def zip_of(lines: Sequence[bytes], file: File, *, name: str = "") -> bytes:
    """Return a zip with these lines in the file's CSV."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name or f"{file.stem}.csv", b"".join(line + b"\n" for line in lines))
    return packed.getvalue()

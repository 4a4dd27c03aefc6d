"""Runs the HTTP application on an open socket, inside the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

_GRACE_S = 1.0


class HttpServer:
    """A uvicorn server that leaves signals to whoever runs the program."""

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False)
        self._server = _Embedded(config)
        self._task: asyncio.Task[None] | None = None
        # A request handler can't reach its own connection.
        app.state.reset = self.reset

    async def start(self, listening: socket.socket) -> None:
        """Serve until :meth:`stop`."""
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        await self._server.accepting.wait()

    async def reset(self, client: tuple[str, int] | None) -> None:
        """Reset the TCP connection of ``client`` (address and port), as a dying host does."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                transport = connection.transport
                # Without lingering the kernel answers with RST instead of FIN.
                raw = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()
        # The connection's end is noted before anybody tries to answer on it.
        await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finish running requests and close."""
        self._server.stopping.set()
        if self._task is not None:
            await self._task


class _Embedded(uvicorn.Server):
    """uvicorn polls ten times a second whether to stop; many short-lived servers can't wait for that."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program."""
        yield

    async def main_loop(self) -> None:
        """Refresh the Date header each second until told to stop."""
        self.accepting.set()
        while not self.stopping.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close idle connections at once, busy ones when they have answered, at most a second later."""
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        running = list(self.server_state.tasks)
        if running:
            await asyncio.wait(running, timeout=_GRACE_S)
        for task in running:
            task.cancel()

"""The HTTP server, without signal handling of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

from marketdata.errors import ConfigurationError

_GRACE_SECONDS: Final = 3


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ``ConfigurationError`` when the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(found[4][:2], family=found[0], backlog=512)
    except OSError as error:
        raise ConfigurationError(
            [f"cannot listen on {host}:{port}: {error.strerror or error} (BIND_ADDRESS, GAP_HANDLER_PORT)"]
        ) from None


class Server(uvicorn.Server):
    """Uvicorn, stopped by its owner: signals are for the whole process to handle."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=30,
                limit_concurrency=512,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield

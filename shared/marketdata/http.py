"""The small HTTP face of a service: ``/health``, ``/metrics``, and a server that fails clearly."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import orjson
import prometheus_client
import psutil
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from marketdata.errors import ConfigurationError

_MEBIBYTE: Final = 1024 * 1024


def memory_mb() -> float:
    """Return this process's resident memory in MiB."""
    return round(psutil.Process().memory_info().rss / _MEBIBYTE, 1)


def json_response(body: dict[str, Any], status: int = 200) -> Response:
    """Return ``body`` as JSON."""
    return Response(orjson.dumps(body), status, media_type="application/json")


async def metrics(_: Request) -> Response:
    """Answer ``GET /metrics`` in Prometheus' text format."""
    return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket; 0 takes a free port.

    Raises ``ConfigurationError`` naming ``setting`` when the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            [f"{setting}={port}: cannot listen on {host}:{port} ({error.strerror})"]
        ) from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield


App = Callable[[Any, Any, Any], Awaitable[None]]


def server(app: App) -> uvicorn.Server:
    """Return a quiet uvicorn server; run it by ``serve(sockets=[bind(…)])``, stop it by ``should_exit``."""
    return _Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    )

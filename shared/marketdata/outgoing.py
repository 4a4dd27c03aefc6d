"""Requests to somebody else: by which way they go, and what they can fail with."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any, Final

import httpx

UNANSWERED: Final = (httpx.HTTPError, TimeoutError, AttributeError)
"""Nobody answered. ``AttributeError`` is the network's doing too: a connection that is reset before its first
use has no socket any more when anyio asks it for its name. Catch these around the request alone."""

_DIRECT: Final = ("all://127.0.0.1", "all://localhost")


def client(**options: Any) -> httpx.AsyncClient:
    """Return a client with ``httpx.AsyncClient``'s options.

    Requests to this machine never go through a proxy that the environment names for the world.
    """
    return httpx.AsyncClient(mounts=dict.fromkeys(_DIRECT), verify=_tls(), **options)


@cache
def _tls() -> ssl.SSLContext:
    """One for all clients of a process: each is the whole list of authorities, 80 ms and a megabyte."""
    return httpx.create_ssl_context()

"""What a WebSocket URL asks for: raw or combined, which streams, which time unit."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class Target(NamedTuple):
    """A parsed request path. ``streams`` keeps the caller's order without repeats."""

    combined: bool
    microseconds: bool
    streams: tuple[str, ...]


def parse_target(path: str) -> Target | None:
    """`/ws`, `/ws/<a>/<b>` or `/stream?streams=<a>/<b>`, percent-encoded or not; None for any other."""
    url = urlsplit(path)
    query = parse_qs(url.query)
    micro = query.get("timeUnit", [""])[-1].upper() == "MICROSECOND"
    place = unquote(url.path).strip("/")
    if place == "ws" or place.startswith("ws/"):
        return Target(False, micro, _names(place[3:]))
    if place == "stream":
        return Target(True, micro, _names(query.get("streams", [""])[-1]))
    return None


def _names(joined: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in joined.split("/") if name))

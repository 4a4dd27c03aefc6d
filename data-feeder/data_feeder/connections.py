"""Which streams share a connection, and how they are asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

STREAMS_PER_CONNECTION: Final = 1024
NAMES_PER_MESSAGE: Final = 200
MESSAGE_SPACING_SECONDS: Final = 0.5
"""The exchange allows 5 messages a second, pings and pongs included."""


def plan(symbols: Sequence[str], most: int = STREAMS_PER_CONNECTION) -> list[list[str]]:
    """Return the symbols of each connection: both streams of a symbol on one, none above ``most``."""
    size = most // 2
    return [list(symbols[i : i + size]) for i in range(0, len(symbols), size)]


def stream_names(symbols: Sequence[str]) -> list[str]:
    """Return the streams of these symbols; names are lower-case, a wrong case is silence."""
    return [f"{symbol.lower()}{suffix}" for symbol in symbols for suffix in ("@kline_1m", "@bookTicker")]


def subscriptions(names: Sequence[str]) -> list[str]:
    """Return the SUBSCRIBE messages for these streams, to be sent ``MESSAGE_SPACING_SECONDS`` apart."""
    return [
        orjson.dumps(
            {
                "method": "SUBSCRIBE",
                "params": list(names[i : i + NAMES_PER_MESSAGE]),
                "id": i // NAMES_PER_MESSAGE + 1,
            }
        ).decode()
        for i in range(0, len(names), NAMES_PER_MESSAGE)
    ]

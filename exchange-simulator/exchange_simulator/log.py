"""One JSON object a line on standard output."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import orjson

from exchange_simulator.clock import wall_seconds


def log(event: str, **fields: object) -> None:
    """Write one line: real time (UTC), service, event and ``fields``."""
    stamp = datetime.fromtimestamp(wall_seconds(), UTC).isoformat(timespec="milliseconds")
    line = {"time": stamp, "service": "exchange-simulator", "event": event, **fields}
    sys.stdout.buffer.write(orjson.dumps(line, default=str) + b"\n")
    sys.stdout.buffer.flush()

"""Minute arithmetic on Unix milliseconds, and how times are written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from marketdata.models import MINUTE_MS


def floor_minute(time_ms: int) -> int:
    """Return the open of the minute that contains ``time_ms``."""
    return time_ms - time_ms % MINUTE_MS


def ceil_minute(time_ms: int) -> int:
    """Return the first minute's open at or after ``time_ms``."""
    return -(-time_ms // MINUTE_MS) * MINUTE_MS


def to_datetime(time_ms: int) -> datetime:
    """Return the UTC instant of a Unix time in milliseconds, exactly."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)


def from_datetime(instant: datetime) -> int:
    """Return the Unix milliseconds of an aware instant, rounded down."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant.isoformat()} has no time zone")
    delta = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def isoformat(time_ms: int) -> str:
    """Return ``2026-11-21T03:50:00Z``; milliseconds only where there are any."""
    text = to_datetime(time_ms).isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def merge(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same instants as few sorted half-open ranges; empty ones vanish."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged

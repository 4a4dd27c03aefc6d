"""Kline intervals: their names, their boundaries, and how longer ones are summed from minutes."""

from __future__ import annotations

import datetime
from typing import Final

import numpy as np

from exchange_simulator.rows import (
    CLOSE,
    CLOSE_TIME,
    COLUMNS,
    HIGH,
    LOW,
    MINUTE_MS,
    OPEN,
    OPEN_TIME,
    QUOTE,
    TAKER,
    TAKER_QUOTE,
    TRADES,
    VOLUME,
    Table,
    empty_table,
)

_MINUTES: Final[dict[str, int]] = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360,
    "8h": 480, "12h": 720, "1d": 1_440, "3d": 4_320, "1w": 10_080,
}  # fmt: skip
INTERVALS: Final = (*_MINUTES, "1M")
"""Case matters: `1m` is a minute, `1M` a month. Seconds (`1s`) are not simulated."""

# 1970-01-01 was a Thursday; weeks start on Monday.
_WEEK_SHIFT_MS: Final = 3 * 86_400_000


def length_ms(interval: str) -> int | None:
    """Milliseconds of an interval; None for months, which differ."""
    minutes = _MINUTES.get(interval)
    return minutes * MINUTE_MS if minutes else None


def start_of(interval: str, stamp: int, offset_ms: int = 0) -> int:
    """Open time of the interval that holds ``stamp``; ``offset_ms`` moves the boundaries (`timeZone`)."""
    local = stamp + offset_ms
    if interval == "1M":
        month = datetime.datetime.fromtimestamp(local / 1000, datetime.UTC).date().replace(day=1)
        return _month_ms(month) - offset_ms
    length = _MINUTES[interval] * MINUTE_MS
    shift = _WEEK_SHIFT_MS if interval == "1w" else 0
    return (local + shift) // length * length - shift - offset_ms


def end_of(interval: str, start: int, offset_ms: int = 0) -> int:
    """Open time of the interval after the one that opens at ``start``."""
    if interval == "1M":
        first = datetime.datetime.fromtimestamp((start + offset_ms) / 1000, datetime.UTC).date()
        following = (first.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
        return _month_ms(following) - offset_ms
    return start + _MINUTES[interval] * MINUTE_MS


def aggregate(minutes: Table, interval: str, offset_ms: int = 0) -> Table:
    """Sum minute rows into ``interval``. An interval without a minute has no row.

    A row closes when its interval does, unless its last minute closed early (a halt); Binance's own
    15m and 1h rows of 2023-03-24 do the same.
    """
    if not len(minutes) or interval == "1m":
        return minutes
    opens = minutes[:, OPEN_TIME]
    length = length_ms(interval)
    if length is None:
        keys = np.array([start_of(interval, stamp, offset_ms) for stamp in opens.tolist()], dtype=np.int64)
    else:
        shift = _WEEK_SHIFT_MS if interval == "1w" else 0
        keys = (opens + offset_ms + shift) // length * length - shift - offset_ms
    firsts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
    lasts = np.append(firsts[1:], len(keys)) - 1
    out = np.empty((len(firsts), COLUMNS), dtype=np.int64) if len(firsts) else empty_table()
    out[:, OPEN_TIME] = keys[firsts]
    out[:, OPEN] = minutes[firsts, OPEN]
    out[:, HIGH] = np.maximum.reduceat(minutes[:, HIGH], firsts)
    out[:, LOW] = np.minimum.reduceat(minutes[:, LOW], firsts)
    out[:, CLOSE] = minutes[lasts, CLOSE]
    for column in (VOLUME, QUOTE, TRADES, TAKER, TAKER_QUOTE):
        out[:, column] = np.add.reduceat(minutes[:, column], firsts)
    ends = np.array([end_of(interval, start, offset_ms) for start in out[:, OPEN_TIME].tolist()]) - 1
    closes = minutes[lasts, CLOSE_TIME]
    early = closes != opens[lasts] + (MINUTE_MS - 1)
    out[:, CLOSE_TIME] = np.where(early, closes, ends)
    return out


def _month_ms(first: datetime.date) -> int:
    return (first - datetime.date(1970, 1, 1)).days * 86_400_000

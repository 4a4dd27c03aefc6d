"""Feature rows on their way into the database, and what they were computed without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from marketdata import metrics
from marketdata.clock import MarketClock
from marketdata.database import Connection
from marketdata.features.columns import Columns
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import Result
from marketdata.models import MINUTE_MS
from marketdata.store import features as store

WRITTEN_MOST: Final = 128
"""Rows in a statement, or one symbol's: to encode more is a long turn of the event loop."""


class Rows(NamedTuple):
    """Rows to be written: ``result``'s, of the symbol of each or all of one.

    ``lacking`` are the minutes (Unix ms) of the reference that they were computed without.
    """

    symbols: str | list[str]
    result: Result
    lacking: list[int]


class RowWriter:
    """Writes rows unless what they were computed without has come, and counts them."""

    def __init__(self, market: MarketClock) -> None:
        self.written = 0
        self.newest: int | None = None
        """The newest instant (Unix ms) of a row."""
        self._market = market

    async def insert(self, connection: Connection, rows: Rows) -> bool:
        """Write live rows; return False, and write none, where what they lack has come meanwhile."""
        written = 0
        async with connection.transaction(), store.still_lacking(connection, rows.lacking) as sure:
            if not sure:
                return False
            for part in statements(rows):
                written += await store.insert(
                    connection, [(part.symbols, part.result)], known_at=self._market.now_ms
                )
        self._count("live", written, rows.result)
        return True

    async def replace(self, connection: Connection, rows: Rows) -> int | None:
        """Write rows computed again and return how many changed; None where what they lack has come
        meanwhile, and some are not written.
        """
        written = 0
        for part in statements(rows):
            # Each for itself: where rows lack the reference's candle, its writer waits for no more than this.
            async with store.still_lacking(connection, part.lacking) as sure:
                if not sure:
                    return None
                written += await store.replace(
                    connection, part.symbols, part.result, known_at=self._market.now_ms
                )
        self._count("again", written, rows.result)
        return written

    def _count(self, path: str, written: int, result: Result) -> None:
        self.written += written
        metrics.FEATURE_ROWS.labels(path).inc(written)
        if result.emit.any():
            self.newest = max(self.newest or 0, int(result.time[result.emit].max()))


def statements(rows: Rows) -> Iterator[Rows]:
    """The same rows for one statement each; those of several minutes of a symbol stay together."""
    if isinstance(rows.symbols, str):
        yield rows
        return
    each = len(rows.symbols) // len(set(rows.symbols))
    most = max(1, WRITTEN_MOST // each) * each
    for first in range(0, len(rows.symbols), most):
        part = slice(first, first + most)
        yield Rows(rows.symbols[part], rows.result.part(part), rows.lacking)


def lacking(columns: Columns, result: Result) -> list[int]:
    """The minutes (Unix ms) of the reference that these rows, the newest, were computed without."""
    if not result.emit.any():
        return []
    first, last = int(result.time[0]), int(result.time[result.emit].max())
    near = (columns.time >= first - CROSS_WINDOW * MINUTE_MS) & (columns.time < last)
    absent = np.isnan(np.atleast_2d(columns.reference_close)).any(axis=0)
    found: list[int] = columns.time[near & absent].tolist()
    return found

"""Writing candles: idempotent, deduplicated, sorted by key, one statement a batch.

The stream's newest go to ``ON CONFLICT`` as arrays. All else may lie in the columnstore or be many: it is
copied into a table of the session and compared there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple, TypeVar

import asyncpg

from marketdata import metrics
from marketdata.candles import candle_problem
from marketdata.database import Connection
from marketdata.models import Candle, Source
from marketdata.reach import CROSS_WINDOW, MAX_WINDOW, REFERENCE
from marketdata.store import ledger
from marketdata.store.queries import QUERIES

# The columnstore begins after 7 days of wall clock; a day's margin for a market clock that is behind.
_MAY_BE_COLUMNAR_MS: Final = 6 * 86_400_000
_CHUNK_MS: Final = 7 * 86_400_000

Item = TypeVar("Item")


class Written(NamedTuple):
    """What a write did, in candles."""

    inserted: int
    changed: int
    unchanged: int
    invalid: int


class Row(NamedTuple):
    """A candle and the exchange time (ms) at which it reached us."""

    candle: Candle
    known_at: int


def prepare(rows: Iterable[Row]) -> tuple[list[Row], list[tuple[Candle, str]]]:
    """Return the rows to write, one a key (the last wins) and sorted by key, and the refused ones."""
    by_key: dict[tuple[str, int], Row] = {}
    refused = []
    for row in rows:
        problem = candle_problem(row.candle)
        if problem is None:
            by_key[row.candle.symbol, row.candle.time] = row
        else:
            refused.append((row.candle, problem))
    return [by_key[key] for key in sorted(by_key)], refused


def chunks(rows: Iterable[Item], candle_of: Callable[[Item], Candle]) -> Iterator[list[Item]]:
    """Yield the rows in parts that lie in one chunk of the table each: seven days of one symbol.

    A bulk load is a ``write`` a part: it then unpacks no more of the columnstore than it touches, and a crash
    costs one part.
    """

    def chunk(item: Item) -> tuple[str, int]:
        candle = candle_of(item)
        return candle.symbol, candle.time // _CHUNK_MS

    for _, part in groupby(sorted(rows, key=chunk), key=chunk):
        yield list(part)


async def _upsert(connection: Connection, rows: Sequence[Row], source: Source, head: bool) -> asyncpg.Record:
    candles, known_at = zip(*rows, strict=True)
    columns = list(zip(*candles, strict=True))
    records: list[asyncpg.Record] = await connection.fetch(
        QUERIES["upsert_candles"],
        *columns,
        known_at,
        source.value,
        head,
        MAX_WINDOW,
        REFERENCE,
        CROSS_WINDOW,
    )
    return records[0]


async def _upsert_compared(
    connection: Connection, rows: Sequence[Row], source: Source, head: bool
) -> asyncpg.Record:
    """Write inside the caller's transaction: the staging table is empty again at its end."""
    times = [row.candle.time for row in rows]
    await connection.execute(QUERIES["stage_candles"])
    await connection.copy_records_to_table(
        "staged_candles", records=[(*row.candle, row.known_at) for row in rows], schema_name="pg_temp"
    )
    records: list[asyncpg.Record] = await connection.fetch(
        QUERIES["upsert_candles_compared"],
        sorted({row.candle.symbol for row in rows}),
        min(times),
        max(times),
        source.value,
        head,
        MAX_WINDOW,
        max(row.known_at for row in rows),
        REFERENCE,
        CROSS_WINDOW,
    )
    return records[0]


async def write(
    connection: Connection, rows: Iterable[Row], *, source: Source, head: bool = False
) -> Written:
    """Write candles and advance the market clock to their newest ``known_at``, all or nothing.

    A candle whose nine numbers are stored already is left alone, with its source and ``known_at``;
    REST and archive replace the stream's, never the reverse. ``head`` promises that no feature row
    can have been computed without these candles; for any other, and for every changed one, the
    feature rows it reaches are marked in ``stale_features`` in the same transaction: the symbol's own,
    and where it is the REFERENCE those of all others, CROSS_WINDOW minutes far. Others do not wait for
    the REFERENCE for ever: its heads mark the rows that were written without them. Impossible candles
    go to the ledger as ``invalid``. Raises asyncpg's errors; then nothing was written.
    """
    wanted, refused = prepare(rows)
    old, new = wanted, list[Row]()
    if source is Source.STREAM:
        old = [row for row in wanted if row.candle.time < row.known_at - _MAY_BE_COLUMNAR_MS]
        new = (
            [row for row in wanted if row.candle.time >= row.known_at - _MAY_BE_COLUMNAR_MS]
            if old
            else wanted
        )
    inserted = changed = 0
    with metrics.WRITE_SECONDS.labels(source.value).time():
        if not refused and not old:
            # One statement is its own transaction: no BEGIN and COMMIT round trips.
            parts = [await _upsert(connection, new, source, head)] if new else []
        else:
            async with connection.transaction():
                parts = [await _upsert_compared(connection, old, source, head)] if old else []
                if new:
                    parts.append(await _upsert(connection, new, source, head))
                for candle, problem in refused:
                    await ledger.record_invalid(connection, candle, source, problem)
    for part in parts:
        inserted += part["inserted"]
        changed += part["changed"]
    unchanged = len(wanted) - inserted - changed
    metrics.CANDLES_WRITTEN.labels(source.value).inc(inserted + changed)
    metrics.CANDLES_UNCHANGED.labels(source.value).inc(unchanged)
    metrics.CANDLES_INVALID.labels(source.value).inc(len(refused))
    return Written(inserted, changed, unchanged, len(refused))

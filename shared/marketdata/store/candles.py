"""Writing candles: idempotent, deduplicated, sorted by key, one statement a batch.

The stream's newest go to ``ON CONFLICT`` as arrays, by a short statement where they are news. All else may
lie in the columnstore or be many: it is copied into a table of the session and compared there first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol

import asyncpg

from marketdata import metrics
from marketdata.candles import candle_problem
from marketdata.database import Connection
from marketdata.models import Candle, Source
from marketdata.reach import CROSS_WINDOW, MAX_WINDOW, REFERENCE
from marketdata.store import ledger
from marketdata.store.literals import array_literal
from marketdata.store.queries import QUERIES

# The columnstore begins after 7 days of wall clock; a day's margin for a market clock that is behind.
_MAY_BE_COLUMNAR_MS: Final = 6 * 86_400_000


class Written(NamedTuple):
    """What a write did, in candles."""

    inserted: int
    changed: int
    unchanged: int
    invalid: int


class _Metrics:
    """One source's: looking them up takes longer than counting."""

    def __init__(self, source: Source) -> None:
        self.seconds = metrics.WRITE_SECONDS.labels(source.value)
        self.written = metrics.CANDLES_WRITTEN.labels(source.value)
        self.unchanged = metrics.CANDLES_UNCHANGED.labels(source.value)
        self.invalid = metrics.CANDLES_INVALID.labels(source.value)


_ONE_INSERTED: Final = Written(1, 0, 0, 0)
_INSERT_HEAD: Final = QUERIES["insert_head"]
_METRICS: Final = {source: _Metrics(source) for source in Source}


class Row(NamedTuple):
    """A candle and the exchange time (ms) at which it reached us."""

    candle: Candle
    known_at: int


class Known(Protocol):
    """Whatever has a candle and the time at which it was known: a ``Row``, or more than one."""

    @property
    def candle(self) -> Candle:
        """The candle."""

    @property
    def known_at(self) -> int:
        """The exchange time (ms) at which it reached us."""


def prepare(rows: Iterable[Known]) -> tuple[list[Known], list[tuple[Candle, str]]]:
    """Return the rows to write, one a key (the last wins) and sorted by key, and the refused ones."""
    by_key: dict[tuple[Any, ...], Known] = {}
    refused = []
    for row in rows:
        candle = row.candle
        problem = candle_problem(candle)
        if problem is None:
            by_key[candle[:2]] = row
        else:
            refused.append((candle, problem))
    return [by_key[key] for key in sorted(by_key)], refused


def _columns(rows: Sequence[Known]) -> tuple[list[tuple[Any, ...]], list[int]]:
    return list(zip(*[row.candle for row in rows], strict=True)), [row.known_at for row in rows]


async def _insert_head(connection: Connection, row: Known) -> bool:
    """Insert one head by the shortest way; False: nothing was done, and it is to be written by another."""
    candle, known_at = row.candle, row.known_at
    if (
        candle.symbol == REFERENCE
        or candle.time < known_at - _MAY_BE_COLUMNAR_MS
        or candle_problem(candle) is not None
    ):
        return False
    return await connection.execute(_INSERT_HEAD, *candle, known_at) == "INSERT 0 1"


async def _insert_heads(connection: Connection, rows: Sequence[Known]) -> int:
    """Insert heads by the short way and return how many it took: fewer than all where it was not certain that
    they are news, or where one is stored already. What it took is done with, whatever becomes of the rest.
    """
    columns, known_at = _columns(rows)
    symbols, times = columns[:2]
    oldest, newest = min(times), max(times)
    if len(rows) > 1 and oldest == newest and REFERENCE not in symbols:
        status = await connection.execute(
            QUERIES["insert_few"],
            symbols,
            *map(array_literal, columns[2:]),
            array_literal(known_at),
            newest,
            min(known_at),
        )
        if taken := int(status.removeprefix("INSERT 0 ")):
            return taken
    count: int = await connection.fetchval(
        QUERIES["insert_heads"],
        symbols,
        *map(array_literal, columns[1:]),
        array_literal(known_at),
        oldest,
        newest,
        min(known_at),
        max(known_at),
        REFERENCE,
        CROSS_WINDOW,
    )
    return count


async def _upsert(
    connection: Connection, rows: Sequence[Known], source: Source, head: bool
) -> asyncpg.Record:
    columns, known_at = _columns(rows)
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
    connection: Connection, rows: Sequence[Known], source: Source, head: bool
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
    connection: Connection, rows: Sequence[Known], *, source: Source, head: bool = False
) -> Written:
    """Write candles and advance the market clock to their newest ``known_at``, all or nothing.

    A candle whose nine numbers are stored already is left alone, with its source and ``known_at``;
    REST and archive replace the stream's, never the reverse. ``head`` promises that no feature row
    can have been computed without these candles; for any other, and for every changed one, the
    feature rows it reaches are marked in ``stale_features`` in the same transaction: the symbol's own,
    and where it is the REFERENCE those of all others, CROSS_WINDOW minutes far. Others do not wait for
    the REFERENCE for ever: its heads mark the rows that were written without them. Impossible candles
    go to the ledger as ``invalid``. Raises asyncpg's errors; then nothing was written, but for heads in
    order: those may be stored, as the next try would store them. The stream's heads leave the clock where it
    is when it has come to the end of their minute, but for the REFERENCE's. ``known_at`` must lie after the
    open.
    """
    began = perf_counter()
    seen = _METRICS[source]
    # What nearly every live write is: the rest of this function would take a tenth of its time.
    if head and len(rows) == 1 and source is Source.STREAM and await _insert_head(connection, rows[0]):
        seen.seconds.observe(perf_counter() - began)
        seen.written.inc()
        return _ONE_INSERTED
    wanted, refused = prepare(rows)
    old, new = wanted, list[Known]()
    if source is Source.STREAM:
        old = [row for row in wanted if row.candle.time < row.known_at - _MAY_BE_COLUMNAR_MS]
        new = (
            [row for row in wanted if row.candle.time >= row.known_at - _MAY_BE_COLUMNAR_MS]
            if old
            else wanted
        )
    inserted = changed = 0
    with seen.seconds.time():
        if not refused and not old:
            # One statement is its own transaction: no BEGIN and COMMIT round trips.
            parts = []
            if new and head and source is Source.STREAM:
                inserted = await _insert_heads(connection, new)
            if inserted < len(new):
                parts = [await _upsert(connection, new, source, head)]
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
    seen.written.inc(inserted + changed)
    if unchanged:
        seen.unchanged.inc(unchanged)
    if refused:
        seen.invalid.inc(len(refused))
    return Written(inserted, changed, unchanged, len(refused))

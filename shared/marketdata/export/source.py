"""Stored minutes as arrays: every read of an export at one moment, however many connections it takes.

One connection holds a snapshot and reads nothing, so it locks nothing. All reads happen in short transactions
that see that snapshot: a long export never stands in the way of retention, compression or a migration.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import numpy as np
from numpy.typing import NDArray

from marketdata import database
from marketdata.copyrows import decode, row_type, to_milliseconds
from marketdata.database import Connection, copy_out, one_moment
from marketdata.errors import DatabaseUnavailableError, ExportError, SchemaError
from marketdata.features.columns import BOOK_ROW, CANDLE_ROW, Columns, Floats
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.sqlfiles import SqlFiles
from marketdata.store.queries import QUERIES as STORE

QUERIES: Final = SqlFiles(Path(__file__).parent / "sql")
STATEMENT_SECONDS: Final = 300.0
"""What one read may take: seconds where a part takes less than one, so that a lost server is noticed."""

Table = NDArray[np.void]
"""Rows with named fields; ``time`` and ``known_at`` are Unix milliseconds."""

_CANDLE_FIELDS: Final = (*CANDLE_ROW, "known_at")
_BOOK_FIELDS: Final = (*BOOK_ROW, "known_at")


class Cached(NamedTuple):
    """Rows of the feature cache: instants, when each was known (ms), and their values, NaN for null.

    ``values`` is (rows, features of the newest set); a row of an older set holds NaN for what that lacks, and
    ``width`` says how many it has. ``since`` is the oldest instant (ms) that the cache has of the symbol at
    all, infinity for none.
    """

    time: NDArray[np.int64]
    known_at: NDArray[np.int64]
    values: Floats
    width: NDArray[np.int64]
    since: float


class Minutes(NamedTuple):
    """The stored minutes ``[start, end)`` of a symbol, as rows in any order."""

    start: int
    end: int
    candles: Table
    books: Table
    outages: list[tuple[int, int]]
    close_before: float

    def columns(self, end: int) -> Columns:
        """The minutes up to ``end`` for the features. None that is later is looked at."""
        candles = self.candles[self.candles["time"] < end]
        books = self.books[self.books["time"] < end]
        return Columns.from_rows(
            self.start,
            end,
            _floats(candles, CANDLE_ROW),
            self.outages,
            _floats(books, BOOK_ROW),
            self.close_before,
        )

    def grid(self, field: str, start: int, end: int) -> Floats:
        """A field of the candles of each minute of ``[start, end)``, NaN where there is no candle."""
        return _grid(self.candles, field, start, end)

    def book_grid(self, field: str, start: int, end: int) -> Floats:
        """The same of the books."""
        return _grid(self.books, field, start, end)


def _grid(table: Table, field: str, start: int, end: int) -> Floats:
    values = np.full((end - start) // MINUTE_MS, np.nan)
    rows = table[(table["time"] >= start) & (table["time"] < end)]
    values[(rows["time"] - start) // MINUTE_MS] = rows[field]
    return values


def _floats(table: Table, names: tuple[str, ...]) -> Floats:
    return np.column_stack([table[name].astype(np.float64) for name in names])


async def _copy(connection: Connection, query: str, names: tuple[str, ...], *arguments: Any) -> Table:
    return _rows(await copy_out(connection, QUERIES[query], *arguments), names)


def _rows(data: memoryview, names: tuple[str, ...]) -> Table:
    """Return rows of a time, numbers and a time. Raises ``ValueError`` where the bytes are something else."""
    first, *numbers, last = names
    copied = decode(data, row_type((first, ">i8", 1), ("numbers", ">f8", len(numbers)), (last, ">i8", 1)))
    types = [(first, np.int64), *((name, np.float64) for name in numbers), (last, np.int64)]
    rows = np.empty(len(copied[first]), dtype=types)
    for name in (first, last):
        rows[name] = to_milliseconds(copied[name][:, 0])
    for place, name in enumerate(numbers):
        rows[name] = copied["numbers"][:, place]
    return rows


async def load(connection: Connection, symbol: str, start: int, end: int) -> Minutes:
    """Return the minutes ``[start, end)`` (Unix ms) of ``symbol``; none of a symbol that is not there."""
    outages = await connection.fetch(STORE["window_outages"], symbol, start, end)
    close = await connection.fetchval(STORE["close_before_outage"], symbol, start) if outages else None
    return Minutes(
        start,
        end,
        await _copy(connection, "candles", _CANDLE_FIELDS, symbol, start, end),
        await _copy(connection, "books", _BOOK_FIELDS, symbol, start, end),
        [(record["gap_start"], record["gap_end"]) for record in outages],
        np.nan if close is None else close,
    )


async def load_cached(connection: Connection, symbol: str, start: int, end: int, width: int) -> Cached:
    """Return the cache's rows with ``time`` in ``[start, end)``, ``width`` values each."""
    records = await connection.fetch(QUERIES["cached"], symbol, start, end)
    since = await connection.fetchval(QUERIES["cached_since"], symbol)
    values = np.full((len(records), width), np.nan)
    widths = np.zeros(len(records), dtype=np.int64)
    for place, record in enumerate(records):
        row = record["values"][:width]
        values[place, : len(row)] = np.array(row, dtype=np.float64)
        widths[place] = len(row)
    return Cached(
        np.array([record["time"] for record in records], dtype=np.int64),
        np.array([record["known_at"] for record in records], dtype=np.int64),
        values,
        widths,
        np.inf if since is None else since,
    )


@asynccontextmanager
async def held_snapshot(settings: DatabaseSettings) -> AsyncIterator[str]:
    """Yield the name of a snapshot that lasts until the end of the block."""
    connection = await database.connect(settings, "marketdata-export-snapshot")
    try:
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        async with one_moment(connection):
            yield str(await connection.fetchval("SELECT pg_export_snapshot()"))
    finally:
        connection.terminate()


@asynccontextmanager
async def reading(connection: Connection, snapshot: str) -> AsyncIterator[None]:
    """A short transaction that sees ``snapshot``.

    Raises ``ExportError`` where the server does not have it: another database, or its holder is gone.
    """
    if not re.fullmatch(r"[0-9A-Fa-f-]{1,64}", snapshot):
        raise ValueError(f"{snapshot!r} is not a snapshot's name")
    async with one_moment(connection):
        try:
            # A name cannot be bound here.
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        except (asyncpg.InvalidParameterValueError, asyncpg.ObjectNotInPrerequisiteStateError,
                asyncpg.UndefinedObjectError) as error:  # fmt: skip
            raise ExportError(
                f"the export's snapshot is not to be had here ({error}): its connection was lost, or these"
                " DB_* settings lead to another database; export again"
            ) from None
        yield


@asynccontextmanager
async def explained(settings: DatabaseSettings) -> AsyncIterator[None]:
    """Turn the database's refusals into errors that say what to do."""
    try:
        yield
    except database.OPERATOR as error:
        raise SchemaError(
            [
                f"{settings.user} cannot read the schema of {settings.name}: {error}"
                " (is this the platform's database, and is it migrated?)"
            ]
        ) from None
    except (asyncpg.PostgresError, *database.TRANSIENT) as error:
        raise DatabaseUnavailableError(
            f"the database at {settings.host}:{settings.port} did not answer: {database.explain(error)}"
        ) from None

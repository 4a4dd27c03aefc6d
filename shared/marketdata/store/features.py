"""Feature windows in, feature rows out, and the ranges that must be computed again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np

from marketdata.database import Connection, one_moment
from marketdata.features.columns import REFERENCE, Columns, Floats
from marketdata.features.engine import Result
from marketdata.features.registry import FEATURE_VERSION, MAX_WINDOW
from marketdata.minutes import merge
from marketdata.models import MINUTE_MS
from marketdata.store.literals import array_literal
from marketdata.store.queries import QUERIES


class Stale(NamedTuple):
    """Feature rows ``[start, end)`` (instants, Unix ms) of ``symbol`` to be computed again.

    ``ids`` are the rows of ``stale_features`` that say so; ``ranges`` are merged and sorted.
    """

    symbol: str
    ids: list[int]
    ranges: list[tuple[int, int]]


async def load_window(
    connection: Connection, symbol: str, start: int, end: int, reference: Columns | None = None
) -> Columns:
    """Return the minutes ``[start, end)`` (Unix ms) of ``symbol`` beside the reference's, at one moment.

    ``reference`` are the REFERENCE's own minutes where they are in hand: then they are of another moment, and
    what changed between the two is marked stale. Minutes of an outage, provisional or confirmed, are flat at
    the close before it.
    """
    async with one_moment(connection):
        own = await _load(connection, symbol, start, end)
        if symbol == REFERENCE:
            return own.beside(own)
        if reference is None:
            reference = await _load(connection, REFERENCE, start, end)
        return own.beside(reference)


async def _load(connection: Connection, symbol: str, start: int, end: int) -> Columns:
    candles = await connection.fetch(QUERIES["window_candles"], symbol, start, end)
    outages = await connection.fetch(QUERIES["window_outages"], symbol, start, end)
    books = await connection.fetch(QUERIES["window_books"], symbol, start, end)
    close = await connection.fetchval(QUERIES["close_before_outage"], symbol, start) if outages else None
    return Columns.from_rows(
        start,
        end,
        [tuple(r) for r in candles],
        [(r["gap_start"], r["gap_end"]) for r in outages],
        [tuple(r) for r in books],
        np.nan if close is None else close,
    )


async def load_reference(connection: Connection, start: int, end: int) -> Floats:
    """Return the REFERENCE's closes of the minutes ``[start, end)`` (Unix ms), flat in outages."""
    closes = np.full((end - start) // MINUTE_MS, np.nan)
    for record in await connection.fetch(QUERIES["reference_closes"], REFERENCE, start, end):
        closes[(record["time"] - start) // MINUTE_MS] = record["close"]
    if np.isnan(closes).any():
        # They may lie in an outage. Rare, so that the candles alone are asked for first.
        return (await _load(connection, REFERENCE, start, end)).close
    return closes


async def newest_reference(connection: Connection, since: int) -> int | None:
    """Return the REFERENCE's newest stored minute (Unix ms) from ``since`` on, None where there is none."""
    newest: int | None = await connection.fetchval(QUERIES["newest_reference"], REFERENCE, since)
    return newest


@asynccontextmanager
async def still_lacking(connection: Connection, minutes: Sequence[int]) -> AsyncIterator[bool]:
    """Whether ``minutes`` (Unix ms) of the REFERENCE are not stored: True stays true until the block ends.

    Rows computed without them are to be written inside, in the transaction that this is. Where it yields
    False they have come since, and the rows must be computed again; a candle that comes later finds the
    rows and marks them. Without ``minutes`` there is nothing to ask.
    """
    if not minutes:
        yield True
        return
    async with connection.transaction():
        await connection.execute("SELECT lock_reference($1, false)", REFERENCE)
        yield not await connection.fetchval(
            QUERIES["lacking_reference"], REFERENCE, list(minutes), min(minutes), max(minutes)
        )


Results = Sequence[tuple[str | Sequence[str], Result]]
"""Rows to be written: those of one symbol, or of as many symbols as there are rows."""


async def _write(connection: Connection, query: str, results: Results, known_at: int, *arguments: int) -> int:
    symbols: list[str] = []
    for of, result in results:
        names = [of] * len(result.emit) if isinstance(of, str) else of
        symbols += [name for name, emit in zip(names, result.emit.tolist(), strict=True) if emit]
    if not symbols:
        return 0
    record = await connection.fetchrow(
        QUERIES[query],
        symbols,
        np.concatenate([r.time[r.emit] for _, r in results]).tolist(),
        [array_literal(row) for _, r in results for row in np.ascontiguousarray(r.values[r.emit])],
        FEATURE_VERSION,
        np.concatenate([r.window_coverage[r.emit] for _, r in results]).tolist(),
        known_at,
        *arguments,
    )
    assert record is not None
    return int(record["written"])


async def insert(connection: Connection, results: Results, *, known_at: int) -> int:
    """Write live rows and return how many were new; one that is there was computed from more, and stays.

    ``known_at`` is the exchange time (ms) in hand; rows get it or ``market_now()``, whichever is later. A
    symbol's newest row is told of on the channel ``features``. Later rows of a symbol that are there already
    may have been computed without the new one's candle, and are marked stale.
    """
    return await _write(connection, "insert_features", results, known_at, MAX_WINDOW)


async def replace(
    connection: Connection, symbols: str | Sequence[str], result: Result, *, known_at: int
) -> int:
    """Write rows computed again and return how many changed; equal ones keep their ``known_at``.

    ``symbols`` is that of all rows, or each row's own. Times and the channel as for ``insert``.
    """
    return await _write(connection, "replace_features", [(symbols, result)], known_at)


async def take_stales(connection: Connection, most: int, symbols: Sequence[str] | None = None) -> list[Stale]:
    """Return the stale ranges of some symbols, the newest first; ``most`` symbols at most.

    Of ``symbols`` only; None: of any. They stay until ``settle_stale``. Stored candles in front of a range
    that have no row yet are taken, too.
    """
    ranges: dict[str, list[tuple[int, int]]] = {}
    ids: dict[str, list[int]] = {}
    for record in await connection.fetch(QUERIES["take_stale"], most, symbols):
        ranges.setdefault(record["symbol"], []).append((record["from_time"], record["to_time"]))
        ids.setdefault(record["symbol"], []).append(record["id"])
    newest = sorted(ranges, key=lambda symbol: (-max(end for _, end in ranges[symbol]), symbol))
    return [Stale(symbol, ids[symbol], merge(ranges[symbol])) for symbol in newest]


async def stale_symbols(connection: Connection) -> set[str]:
    """Return the symbols that have stale rows."""
    return {r["symbol"] for r in await connection.fetch("SELECT DISTINCT symbol FROM stale_features")}


async def settle_stale(connection: Connection, ids: Sequence[int]) -> None:
    """Delete stale rows, once all their feature rows are written: a crash before it costs work, not truth."""
    await connection.execute("DELETE FROM stale_features WHERE id = ANY ($1::bigint[])", list(ids))


async def mark_unfinished(connection: Connection, symbols: Sequence[str] | None = None) -> None:
    """Mark stored candles that have no feature row yet: a crash may lie between the two commits.

    Of ``symbols`` only; None: of any.
    """
    await connection.execute(QUERIES["unfinished_features"], symbols)

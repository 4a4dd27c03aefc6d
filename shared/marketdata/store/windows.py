"""The feature windows of many symbols in a few statements: binary COPY straight into arrays.

The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

import asyncio
import io
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.database import POSTGRES_EPOCH_MS, Connection
from marketdata.features.columns import BOOK, CANDLE_ROW, MISSING, PRESENT, REFERENCE, Columns, Floats
from marketdata.models import MINUTE_MS
from marketdata.store.queries import QUERIES

_HEADER_BYTES: Final = 19
_TRAILER_BYTES: Final = 2


async def newest_minutes(connection: Connection, symbols: Sequence[str]) -> dict[str, int]:
    """Return the newest stored minute (open, Unix ms) of each symbol that has one."""
    records = await connection.fetch(QUERIES["newest_candles"], list(symbols))
    return {r["symbol"]: r["time"] for r in records}


async def load_windows(
    connection: Connection,
    symbols: Sequence[str],
    start: int,
    end: int,
    *,
    books_from: int | None = None,
    executor: Executor | None = None,
) -> Columns:
    """Return the minutes ``[start, end)`` (Unix ms) of symbols, (symbols, minutes), beside the reference's.

    They are of one moment, and each row is what ``load_window`` returns of its symbol; of the books, those
    from ``books_from`` on. Arrays are made by ``executor``, beside the event loop.
    """
    asked = list(symbols)
    reference = asked.index(REFERENCE) if REFERENCE in asked else len(asked)
    if reference == len(asked):
        asked.append(REFERENCE)
    seen = start if books_from is None else books_from
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        candles = await _copy(connection, "copy_window_candles", asked, start, end)
        books = await _copy(connection, "copy_window_books", asked, seen, end)
        outages: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for record in await connection.fetch(QUERIES["windows_outages"], asked, start, end):
            outages[record["symbol"]].append((record["gap_start"], record["gap_end"]))
        before = {
            symbol: await connection.fetchval(QUERIES["close_before_outage"], symbol, start)
            for symbol, ranges in outages.items()
            if any(first <= start for first, _ in ranges)
        }

    copied = _Copied(asked, reference, start, end, candles, books, outages, before)
    return await asyncio.get_running_loop().run_in_executor(executor, _columns, copied, len(symbols))


class _Copied(NamedTuple):
    """What was read of ``asked``, the reference among them."""

    asked: list[str]
    reference: int
    start: int
    end: int
    candles: memoryview
    books: memoryview
    outages: dict[str, list[tuple[int, int]]]
    before: dict[str, float | None]


async def _copy(connection: Connection, query: str, symbols: list[str], start: int, end: int) -> memoryview:
    output = io.BytesIO()
    copying = asyncio.ensure_future(
        connection.copy_from_query(QUERIES[query], symbols, start, end, output=output, format="binary")
    )
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        # A COPY that is cancelled itself ends in an error of asyncpg's own protocol (0.32): it loses its
        # connection instead, which nobody who is stopped needs any more.
        connection.terminate()
        await asyncio.gather(copying, return_exceptions=True)
        raise
    return output.getbuffer()


def _rows(copied: memoryview, numbers: int) -> NDArray[Any]:
    """Rows of a place, a time and so many numbers; raises ValueError where the bytes are something else."""
    layout = np.dtype(
        [
            ("fields", ">i2"),
            ("place", [("size", ">i4"), ("value", ">i8")], (2,)),
            ("number", [("size", ">i4"), ("value", ">f8")], (numbers,)),
        ]
    )
    body = len(copied) - _HEADER_BYTES - _TRAILER_BYTES
    if body % layout.itemsize:
        raise ValueError(f"{len(copied)} copied bytes are not rows of {layout.itemsize}")
    rows = np.frombuffer(copied, layout, count=body // layout.itemsize, offset=_HEADER_BYTES)
    if (rows["fields"] != numbers + 2).any():
        raise ValueError(f"a copied row has not {numbers + 2} fields")
    return rows


def _lay(rows: NDArray[Any], names: Sequence[str], shape: tuple[int, int], start: int) -> dict[str, Floats]:
    """Each number's (symbols, minutes), NaN where no row is; a minute's symbols lie side by side.

    ``shape`` is (minutes, symbols), ``start`` the first minute (Unix ms).
    """
    minutes, symbols = shape
    places = rows["place"]["value"].astype(np.int64)
    flat = (places[:, 1] // 1000 + POSTGRES_EPOCH_MS - start) // MINUTE_MS * symbols + places[:, 0] - 1
    laid = {}
    for place, name in enumerate(names):
        values = np.full(minutes * symbols, np.nan)
        values[flat] = rows["number"]["value"][:, place]
        laid[name] = values.reshape(minutes, symbols).T
    return laid


def _columns(copied: _Copied, count: int) -> Columns:
    asked, start, end = copied.asked, copied.start, copied.end
    n = (end - start) // MINUTE_MS
    values = _lay(_rows(copied.candles, len(CANDLE_ROW) - 1), CANDLE_ROW[1:], (n, len(asked)), start)
    values |= _lay(_rows(copied.books, len(BOOK)), BOOK, (n, len(asked)), start)
    state = np.where(np.isnan(values["close"].T), MISSING, PRESENT).astype(np.uint8).T
    time = start + MINUTE_MS * np.arange(n, dtype=np.int64)
    for place, symbol in enumerate(asked):
        if symbol in copied.outages:
            table = np.stack([time.astype(np.float64), *(values[name][place] for name in CANDLE_ROW[1:])])
            close = copied.before.get(symbol)
            flat = Columns.from_rows(
                start,
                end,
                table.T[state[place] == PRESENT],
                copied.outages[symbol],
                previous_close=np.nan if close is None else close,
            )
            for name in CANDLE_ROW[1:]:
                values[name][place] = getattr(flat, name)
            state[place] = flat.state
    closes = np.broadcast_to(values["close"][copied.reference].copy(), (count, n))
    parts = {name: column[:count] for name, column in values.items()}
    return Columns(time=time, state=state[:count], reference_close=closes, **parts)

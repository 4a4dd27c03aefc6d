"""The feature windows of many symbols in a few statements: binary COPY straight into arrays."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from marketdata.copyrows import Array, decode, row_type, to_milliseconds
from marketdata.database import Connection, copy_out, one_moment
from marketdata.features.columns import BOOK, CANDLE_ROW, MISSING, PRESENT, REFERENCE, Columns, Floats
from marketdata.models import MINUTE_MS
from marketdata.store.queries import QUERIES


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
    async with one_moment(connection):
        candles = await copy_out(connection, QUERIES["copy_window_candles"], asked, start, end)
        books = await copy_out(connection, QUERIES["copy_window_books"], asked, seen, end)
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


def _rows(copied: memoryview, numbers: int) -> dict[str, Array]:
    """Rows of a place, a time and so many numbers; raises ValueError where the bytes are something else."""
    return decode(copied, row_type(("place", ">i8", 1), ("time", ">i8", 1), ("number", ">f8", numbers)))


def _lay(
    rows: dict[str, Array], names: Sequence[str], shape: tuple[int, int], start: int
) -> dict[str, Floats]:
    """Each number's (symbols, minutes), NaN where no row is; a minute's symbols lie side by side.

    ``shape`` is (minutes, symbols), ``start`` the first minute (Unix ms).
    """
    minutes, symbols = shape
    minute = (to_milliseconds(rows["time"][:, 0]) - start) // MINUTE_MS
    flat = minute * symbols + rows["place"][:, 0] - 1
    laid = {}
    for place, name in enumerate(names):
        values = np.full(minutes * symbols, np.nan)
        # First to the machine's own numbers: laid as they were copied, it takes half as long again.
        values[flat] = rows["number"][:, place].astype(np.float64)
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

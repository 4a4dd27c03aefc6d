"""Rows computed beside the event loop, from the newest day of every symbol kept in memory."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_feeder.board import Board
from data_feeder.rows import Rows, lacking
from marketdata.database import Connection
from marketdata.features.columns import BOOK, PRESENT, REFERENCE, Columns, Floats
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import compute, compute_instant
from marketdata.features.registry import ACTIVE, MAX_WINDOW, NAMES, depths
from marketdata.models import MINUTE_MS, Candle
from marketdata.store import windows

P = ParamSpec("P")
T = TypeVar("T")

TOGETHER_MOST: Final = 256
"""Symbols computed and written at once: while one part is written the next is computed, and to hand over a
part's rows is no long turn of the event loop."""
LOADED_MOST: Final = 100_000
"""Symbols times minutes read from the database at once: a dozen megabytes, twice while they are laid out."""
CHUNK_MS: Final = 1440 * MINUTE_MS
"""The longest range of stale rows computed, or of the reference read for live ones, at once."""
_DEPTHS: Final = {**depths(), "reference_close": CROSS_WINDOW}
_BOOK_DEPTH: Final = max(_DEPTHS.get(name, 0) for name in BOOK)
_COMPARED: Final = [place for place, feature in ACTIVE if "reference_close" in feature.inputs]
_OWN: Final = [place for place, feature in ACTIVE if "reference_close" not in feature.inputs]


class Computer:
    """The windows of many symbols in memory, and what was computed of them ahead of the reference."""

    def __init__(self) -> None:
        self.board = Board(MAX_WINDOW, _DEPTHS)
        """What takes long on it goes through the methods here: they run it beside the event loop."""
        self._ahead: dict[str, Floats] = {}
        # Each call of numpy hands the interpreter over: a second thread adds an eighth, and its own arrays.
        self._thread = ThreadPoolExecutor(1, "features")

    def forget(self, symbols: Iterable[str] | None = None) -> None:
        """What is in memory of these symbols, or of all, may not be what is stored."""
        if symbols is None:
            self.board.clear()
            self._ahead.clear()
            return
        for symbol in symbols:
            self.board.drop(symbol)
            self._ahead.pop(symbol, None)

    async def load(
        self, connection: Connection, symbols: list[str], start: int, end: int, rows: int
    ) -> Columns:
        """The windows of several symbols' newest ``rows`` minutes; of the books what these rows need."""
        books_from = max(start, end - (_BOOK_DEPTH + rows) * MINUTE_MS)
        return await windows.load_windows(
            connection, symbols, start, end, books_from=books_from, executor=self._thread
        )

    async def put(self, symbols: Sequence[str], window: Columns) -> None:
        """Take the same minutes of these symbols onto the board, as ``Board.put_all`` does."""
        await self._beside(self.board.put_all, symbols, window)

    async def put_up_to_the_last_candle(self, symbols: list[str], window: Columns) -> None:
        """The same, of each symbol up to its last candle."""
        await self._beside(self._put_up_to_the_last_candle, symbols, window)

    def sorted_out(self, due: Mapping[str, list[Candle]]) -> tuple[dict[int, list[str]], list[str]]:
        """Return by minute the symbols that are exactly one ahead of the board, or were when it was computed
        ahead; and all others.
        """
        together: dict[int, list[str]] = defaultdict(list)
        alone = []
        for symbol, candles in due.items():
            known = candles[0].time + (MINUTE_MS if symbol in self._ahead else 0)
            if len(candles) == 1 and self.board.end(symbol) == known:
                together[candles[0].time].append(symbol)
            else:
                alone.append(symbol)
        return together, alone

    def early_and_fresh(self, symbols: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the symbols whose minute was computed ahead, and the others."""
        early = self.board.in_order([symbol for symbol in symbols if symbol in self._ahead])
        fresh = self.board.in_order([symbol for symbol in symbols if symbol not in self._ahead])
        return early, fresh

    async def append(
        self,
        minute: int,
        candles: Sequence[Candle],
        books: Sequence[tuple[float, float]],
        reference: float,
    ) -> None:
        """Add a minute of symbols that are on the board up to it, as ``Board.append`` does."""
        await self._beside(self.board.append, minute, candles, books, reference)

    async def compute_ahead(self, minute: int, symbols: list[str]) -> None:
        """Compute and keep what a minute's rows have without the reference; the minute is on the board."""
        async with self._computing(self._own, minute, symbols) as parts:
            for part, values in parts:
                self._ahead.update(zip(part, await values, strict=True))

    async def rehearse(self, minute: int, symbols: list[str]) -> None:
        """Compute the same for nothing but that its arrays are there and the code is in memory."""
        await self.compute_ahead(minute, symbols)
        self.done(symbols)

    def instant(
        self, minute: int, symbols: list[str]
    ) -> AbstractAsyncContextManager[list[tuple[list[str], asyncio.Task[Rows]]]]:
        """The rows of a minute that is on the board, in parts; none is computed on behind the block.

        The symbols are in the board's order, and their minute was computed ahead of all or of none.
        """
        return self._computing(self._together, minute, symbols)

    def done(self, symbols: Iterable[str]) -> None:
        """Forget what was computed ahead: the minute's turn has been."""
        for symbol in symbols:
            self._ahead.pop(symbol, None)

    async def rows_of_one(self, symbol: str, window: Columns, count: int) -> Rows:
        """The rows of the newest ``count`` minutes of a symbol."""
        result = await self._beside(compute, window, count)
        return Rows(symbol, result, [] if symbol == REFERENCE else lacking(window, result))

    async def rows_of(self, symbols: list[str], window: Columns, count: int) -> Rows:
        """The rows of the newest ``count`` minutes of several symbols, (symbols, minutes)."""
        return await self._beside(_rows, symbols, window, count)

    async def _beside(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """What ``call`` returns, run beside the event loop: the sockets must not be kept waiting."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, functools.partial(call, *args, **named)
        )

    @asynccontextmanager
    async def _computing(
        self, call: Callable[[int, list[str]], T], minute: int, ordered: list[str]
    ) -> AsyncIterator[list[tuple[list[str], asyncio.Task[T]]]]:
        """What ``call`` makes of the symbols, in parts; none runs on behind the block."""
        count = max(1, -(-len(ordered) // TOGETHER_MOST))
        most = max(1, -(-len(ordered) // count))  # all as large
        parts = [
            (part, asyncio.create_task(self._beside(call, minute, part))) for part in _parts(ordered, most)
        ]
        try:
            yield parts
        finally:
            for _, one in parts:
                one.cancel()
            await asyncio.gather(*(one for _, one in parts), return_exceptions=True)

    def _own(self, minute: int, symbols: list[str]) -> Floats:
        """What a minute's rows have without the reference, NaN for the rest. Runs beside the event loop."""
        result = compute_instant(self.board.together(symbols, minute + MINUTE_MS), places=_OWN)
        values = np.full((len(symbols), len(NAMES)), np.nan)
        values[:, _OWN] = result.values
        return values

    def _together(self, minute: int, symbols: list[str]) -> Rows:
        """Compute the rows of a minute that is on the board, or the rest of them where all are computed
        ahead. Runs beside the event loop.
        """
        columns = self.board.together(symbols, minute + MINUTE_MS)
        if symbols[0] in self._ahead:
            result = compute_instant(columns, places=_COMPARED)
            values = np.stack([self._ahead[symbol] for symbol in symbols])
            values[:, _COMPARED] = result.values
            result = replace(result, values=values)
        else:
            result = compute_instant(columns)
        return Rows(symbols, result, lacking(columns.part(MAX_WINDOW - CROSS_WINDOW, MAX_WINDOW), result))

    def _put_up_to_the_last_candle(self, symbols: list[str], window: Columns) -> None:
        stops = last_candles(window)
        for stop in np.unique(stops).tolist():
            those = np.flatnonzero(stops == stop)
            minutes = window.part(0, stop)
            if len(those) < len(symbols):
                minutes = minutes.of(those)
            self.board.put_all([symbols[place] for place in those], minutes)


def _rows(symbols: list[str], window: Columns, count: int) -> Rows:
    result = compute_instant(window, count)
    absent = [] if symbols == [REFERENCE] else lacking(window, result)
    return Rows([symbol for symbol in symbols for _ in range(count)], result, absent)


def last_candles(window: Columns) -> NDArray[np.intp]:
    """Of each symbol, how many minutes there are up to its last candle."""
    real = window.state == PRESENT
    n = real.shape[1]
    return np.where(real.any(axis=1), n - np.argmax(real[:, ::-1], axis=1), 0)


def loadable(whole: Sequence[T], rows: int) -> Iterator[list[T]]:
    """The same symbols in parts whose windows of so many rows are read at once."""
    return _parts(whole, max(1, LOADED_MOST // (MAX_WINDOW + rows)))


def _parts(whole: Sequence[T], most: int) -> Iterator[list[T]]:
    for first in range(0, len(whole), most):
        yield list(whole[first : first + most])

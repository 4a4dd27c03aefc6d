"""Rows of candles just committed: a minute's together where they are the next on the board."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Final

import numpy as np

from data_feeder.computer import CHUNK_MS, TOGETHER_MOST, Computer, loadable
from data_feeder.patience import ReferencePatience
from data_feeder.rows import RowWriter
from data_feeder.waiting import Waiting
from marketdata import metrics
from marketdata.clock import Clock
from marketdata.database import Connection
from marketdata.features.columns import REFERENCE, Columns
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS, Candle
from marketdata.store import features as store

REFERENCE_POLL_SECONDS: Final = 0.05
"""How often a shard without the reference looks for its candle, while rows wait for it."""


class Live:
    """Computes and writes the rows of what waits, a turn at a time.

    ``elsewhere`` is the patience with a reference that another shard captures.
    """

    def __init__(
        self,
        waiting: Waiting,
        computer: Computer,
        rows: RowWriter,
        clock: Clock,
        elsewhere: ReferencePatience | None = None,
    ) -> None:
        self._waiting = waiting
        self._computer = computer
        self._rows = rows
        self._clock = clock
        self._elsewhere = elsewhere

    async def turn(self, connection: Connection) -> float:
        """Compute the rows that are due; return in how many seconds the next one is that waits."""
        self._computer.forget(self._waiting.take_overtaken())
        soon = await self._look_for_reference(connection)
        since, (due, wait) = self._waiting.since, self._waiting.take_due(self._clock.monotonic())
        if soon:
            wait = min(wait, REFERENCE_POLL_SECONDS)
        if not due:
            return min(wait, await self._compute_ahead())
        together, alone = self._computer.sorted_out(due)
        closes = await self._reference_closes(connection, due)
        for minute, symbols in sorted(together.items()):
            alone += await self._minute(connection, minute, symbols, due, closes.get(minute, np.nan))
        await self._others(connection, alone, due, closes)
        metrics.FEATURE_SECONDS.observe(self._clock.monotonic() - since)
        return wait

    async def _look_for_reference(self, connection: Connection) -> bool:
        """Ask the database for the candle that another shard captures; return whether to ask again soon."""
        if self._elsewhere is None:
            return False
        wanted = self._elsewhere.wants(self._clock.monotonic())
        if wanted is None:
            return False
        newest = await store.newest_reference(connection, wanted)
        if newest is not None:
            self._elsewhere.stored(newest, self._clock.monotonic())
        return newest is None

    async def _reference_closes(
        self, connection: Connection, due: dict[str, list[Candle]]
    ) -> dict[int, float]:
        """What the database says now of the reference in the minutes that are new: a repair may have been
        settled since its candle was offered.
        """
        minutes = {c.time for symbol, candles in due.items() if symbol != REFERENCE for c in candles}
        if not minutes or max(minutes) - min(minutes) > CHUNK_MS:
            return {}
        start, end = min(minutes), max(minutes) + MINUTE_MS
        closes = await store.load_reference(connection, start, end)
        return dict(zip(range(start, end, MINUTE_MS), closes.tolist(), strict=True))

    async def _minute(
        self,
        connection: Connection,
        minute: int,
        symbols: list[str],
        due: dict[str, list[Candle]],
        reference: float,
    ) -> list[str]:
        """Compute a minute's rows of symbols that are on the board up to it, and return those not written.

        While one part is written the next are computed.
        """
        early, fresh = self._computer.early_and_fresh(symbols)
        if early:
            self._computer.board.compare(minute, early, reference)
        if fresh:
            await self._append(minute, [due[symbol][0] for symbol in fresh], reference)
        refused: list[str] = []
        async with (
            self._computer.instant(minute, early) as done,
            self._computer.instant(minute, fresh) as new,
        ):
            for part, rows in (*done, *new):
                if not await self._rows.insert(connection, await rows):
                    refused += part
        self._computer.done(symbols)
        return refused

    async def _compute_ahead(self) -> float:
        """Compute of the candles that wait for the reference all that is not compared with it; return in how
        many seconds there may be more to compute.

        Else a market's rows would all be computed after it, which may be the last candle of a minute.
        """
        ready: dict[int, dict[str, Candle]] = defaultdict(dict)
        for candle in self._waiting.single():
            if self._computer.board.end(candle.symbol) == candle.time:
                ready[candle.time][candle.symbol] = candle
        if not ready or not self._waiting.gathers:
            return math.inf
        minute = min(ready)
        symbols = self._computer.board.in_order(list(ready[minute]))
        left = self._waiting.gathering(len(symbols), self._clock.monotonic())
        if left > 0:
            return left
        # No more at once: the reference may come meanwhile.
        symbols = symbols[:TOGETHER_MOST]
        await self._append(minute, [ready[minute][symbol] for symbol in symbols], np.nan)
        await self._computer.compute_ahead(minute, symbols)
        return 0.0

    async def _append(self, minute: int, candles: list[Candle], reference: float) -> None:
        """Add a minute's candles and books to the board."""
        books = [self._waiting.take_book(candle.symbol, minute) for candle in candles]
        await self._computer.append(minute, candles, books, reference)

    async def _others(
        self,
        connection: Connection,
        symbols: list[str],
        due: dict[str, list[Candle]],
        closes: dict[int, float],
    ) -> None:
        """Compute the rows of candles that are not just the next ones on the board.

        A minute between them came another way: a late frame, a repair, an outage. It may be stored, and its
        stale mark settled, by now: what these rows see must not be older, and is read again.
        """
        spans: dict[tuple[int, int], list[str]] = defaultdict(list)
        for symbol in symbols:
            if not await self._from_board(connection, symbol, due[symbol], closes):
                self._computer.forget((symbol,))
                spans[due[symbol][0].time, due[symbol][-1].time + MINUTE_MS].append(symbol)
        for (start, end), those in sorted(spans.items()):
            for part in loadable(those, (end - start) // MINUTE_MS):
                for symbol in part:
                    self._waiting.take_books(symbol, end)
                while not await self._from_database(connection, part, start, end):
                    pass

    async def _from_board(
        self, connection: Connection, symbol: str, candles: list[Candle], closes: dict[int, float]
    ) -> bool:
        """Compute a symbol's rows from the board, if it ends before them; return whether they are written."""
        start, end = candles[0].time, candles[-1].time + MINUTE_MS
        count = (end - start) // MINUTE_MS
        if self._computer.board.end(symbol) != start or count != len(candles):
            return False
        if symbol != REFERENCE and start not in closes:
            return False
        before = self._computer.board.columns(symbol)
        waiting = self._waiting.take_books(symbol, end)
        books = [(book.time, book.spread_bps, book.imbalance) for book in waiting if book.time >= start]
        later = Columns.from_rows(start, end, [candle[1:] for candle in candles], (), books)
        reference = [c.close if symbol == REFERENCE else closes[c.time] for c in candles]
        window = before.followed_by(replace(later, reference_close=np.array(reference)))
        if not await self._rows.insert(connection, await self._computer.rows_of_one(symbol, window, count)):
            return False
        await self._computer.put((symbol,), window)
        return True

    async def _from_database(self, connection: Connection, symbols: list[str], start: int, end: int) -> bool:
        """Compute the rows of the minutes ``[start, end)`` of several symbols from what is stored.

        False: the reference's candle came meanwhile, and the rows were not written.
        """
        count = (end - start) // MINUTE_MS
        first = start - (MAX_WINDOW - 1) * MINUTE_MS
        window = await self._computer.load(connection, symbols, first, end, count)
        if not await self._rows.insert(connection, await self._computer.rows_of(symbols, window, count)):
            return False
        await self._computer.put(symbols, window)
        return True

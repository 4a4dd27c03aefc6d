"""What the exchange would show at a given moment: candles so far, never one from the future."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from exchange_simulator.decimals import E8
from exchange_simulator.intervals import aggregate, end_of, start_of
from exchange_simulator.intrabar import partial
from exchange_simulator.rows import (
    CLOSE,
    CLOSE_TIME,
    DAY_MS,
    MINUTE_MS,
    OPEN_TIME,
    Ints,
    Row,
    Table,
    empty_table,
    row_of,
)
from exchange_simulator.source.protocol import Day, Source
from marketdata.models import Candle


class Span(NamedTuple):
    """Minutes [start, end) in Unix ms of one symbol, or of all when ``symbol`` is None."""

    symbol: str | None
    start: int
    end: int


class Place(NamedTuple):
    """One candle of a day."""

    day: Day
    position: int


class Market:
    """A source as seen by the public, with the minutes of injected halts taken out everywhere."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.halts: tuple[Span, ...] = ()
        self.version = 0

    def set_halts(self, halts: Iterable[Span]) -> None:
        """Replace the injected halts; ``version`` tells who remembers candles."""
        self.halts = tuple(halts)
        self.version += 1

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments on offer."""
        return self.source.symbols

    def place(self, symbol: str, minute_ms: int) -> Place | None:
        """The candle opening in the minute at ``minute_ms``, None in a halt."""
        day = self.source.day(symbol, minute_ms // DAY_MS)
        if day is None or _covered(self.halts, symbol, minute_ms):
            return None
        position = day.position(minute_ms % DAY_MS // MINUTE_MS)
        return None if position is None else Place(day, position)

    def open_minute(self, symbol: str, now_ms: int) -> Ints | None:
        """The candle that is open at ``now_ms`` as it stands then; None in a halt."""
        place = self.place(symbol, now_ms // MINUTE_MS * MINUTE_MS)
        if place is None:
            return None
        whole = place.day.ints(place.position)
        if not whole[OPEN_TIME] < now_ms <= whole[CLOSE_TIME]:
            return None
        return partial(whole, now_ms, self.source.spec(symbol))

    def rows(
        self,
        symbol: str,
        interval: str,
        now_ms: int,
        *,
        start: int | None,
        end: int | None,
        limit: int,
        hidden: Iterable[Span] = (),
        offset_ms: int = 0,
    ) -> list[Row]:
        """Klines whose open time lies in [start, end] (both inclusive, Unix ms), ascending.

        With ``start`` the oldest ``limit`` rows from there, otherwise the newest up to ``end``. The
        last may be the one still open. ``hidden`` minutes are left out.
        """
        first = self.source.first_day(symbol) * DAY_MS
        low = first if start is None else max(start, first)
        high = now_ms if end is None else min(end, now_ms)
        if low > high:
            return []
        skip = (*self.halts, *hidden)
        if interval == "1m":
            return self._minutes(symbol, now_ms, low, high, limit, start is not None, skip)
        # Boundaries first, so that a bar is either whole or absent.
        begin = start_of(interval, low, offset_ms)
        if begin < low and low != first:
            begin = end_of(interval, begin, offset_ms)
        last = end_of(interval, start_of(interval, high, offset_ms), offset_ms) - 1
        if start is None:
            begin = max(begin, _back(interval, high, limit, offset_ms))
        else:
            last = min(last, _ahead(interval, begin, limit, offset_ms))
        minutes = self.minutes(symbol, begin, min(last, now_ms), now_ms, skip)
        bars = aggregate(minutes, interval, offset_ms)
        bars = bars[:limit] if start is not None else bars[-limit:]
        return [row_of(line) for line in bars.tolist()]

    def minutes(self, symbol: str, low: int, high: int, now_ms: int, skip: Iterable[Span] = ()) -> Table:
        """Minute rows opening in [low, high] as a table, the open one (if any) as it stands at ``now_ms``."""
        parts: list[Table] = []
        for day, positions in self._days(symbol, low, min(high, now_ms - 1), False, skip):
            table = day.table[positions]
            if len(table) and table[-1, CLOSE_TIME] >= now_ms:
                table[-1] = partial(table[-1].tolist(), now_ms, self.source.spec(symbol))
            parts.append(table)
        return np.concatenate(parts) if parts else empty_table()

    def candles(self, symbol: str, low: int, high: int, now_ms: int) -> list[Candle]:
        """Final candles opening in [low, high), as the platform should end up storing them."""
        table = self.minutes(symbol, low, high - 1, now_ms, self.halts)
        return [
            Candle(symbol, t, o / E8, h / E8, lo / E8, c / E8, v / E8, q / E8, n, tb / E8, tq / E8)
            for t, o, h, lo, c, v, end, q, n, tb, tq in table.tolist()
            if end < now_ms
        ]

    def last_price(self, symbol: str, now_ms: int) -> int | None:
        """Newest trade price in 1e-8; None before the first."""
        now = self.open_minute(symbol, now_ms)
        if now:
            return now[CLOSE]
        low = self.source.first_day(symbol) * DAY_MS
        for day, positions in self._days(symbol, low, now_ms - 1, True, self.halts):
            if len(positions):
                return int(day.table[positions[-1], CLOSE])
        return None

    def _minutes(
        self, symbol: str, now_ms: int, low: int, high: int, limit: int, forward: bool, skip: tuple[Span, ...]
    ) -> list[Row]:
        rows: list[Row] = []
        for day, positions in self._days(symbol, low, min(high, now_ms - 1), not forward, skip):
            room = limit - len(rows)
            chosen = positions[:room] if forward else positions[-room:]
            part = [day.row(position) for position in chosen.tolist()]
            if part and part[-1].close_time >= now_ms:
                part[-1] = row_of(partial(day.ints(int(chosen[-1])), now_ms, self.source.spec(symbol)))
            rows = rows + part if forward else part + rows
            if len(rows) >= limit:
                break
        return rows

    def _days(
        self, symbol: str, low: int, high: int, backwards: bool, skip: Iterable[Span]
    ) -> Iterator[tuple[Day, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
        """Each day with rows opening in [low, high] and their visible positions."""
        spans = [span for span in skip if span.symbol in (None, symbol)]
        last = self.source.last_day(symbol)
        newest = high // DAY_MS if last is None else min(high // DAY_MS, last)
        numbers = range(max(low // DAY_MS, self.source.first_day(symbol)), newest + 1)
        for number in reversed(numbers) if backwards else numbers:
            day = self.source.day(symbol, number)
            if day is None:
                continue
            opens = day.table[:, OPEN_TIME]
            visible = (opens >= low) & (opens <= high)
            for span in spans:
                visible &= (opens < span.start) | (opens >= span.end)
            yield day, np.flatnonzero(visible)


def _covered(spans: Iterable[Span], symbol: str, minute_ms: int) -> bool:
    return any(
        span.symbol in (None, symbol) and span.start < minute_ms + MINUTE_MS and minute_ms < span.end
        for span in spans
    )


def _back(interval: str, high: int, limit: int, offset_ms: int) -> int:
    start = start_of(interval, high, offset_ms)
    for _ in range(limit - 1):
        start = start_of(interval, start - 1, offset_ms)
        if start <= 0:
            break
    return start


def _ahead(interval: str, begin: int, limit: int, offset_ms: int) -> int:
    stamp = begin
    for _ in range(limit):
        stamp = end_of(interval, stamp, offset_ms)
    return stamp - 1

"""A feeder without I/O: the real decoder, sequences and buffer, and the writer's order of doing things."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self, cast

from tests.promise.market import SYMBOLS, Market, minute_of, ms
from tests.promise.store import DatabaseAwayError, Store

from data_feeder.audit import audited_end
from data_feeder.buffer import Buffer, Item
from data_feeder.ingest import Ingest
from data_feeder.sequence import LATE_AFTER_MS, Hole
from data_feeder.startup import Start
from data_feeder.stream import Stream
from data_feeder.watchdog import LATE_FOR_SECONDS, Watchdog
from data_feeder.writer import refused_holes
from marketdata.clock import MarketClock
from marketdata.minutes import floor_minute
from marketdata.models import MINUTE_MS, KlineEvent, Source
from marketdata.store.candles import Row

CAPACITY: Final = 4
THRESHOLD: Final = 70

LOOP: Final = asyncio.new_event_loop()


class MachineClock:
    """Local time is the market's: silence is a rule of the machine's, not a matter of waiting."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def monotonic(self) -> float:
        return self._market.now / 1000

    def wall_ms(self) -> int:
        return self._market.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


class WatchedBuffer(Buffer):
    """A buffer that checks what a sequence promises: a minute is reported once, when it is over and
    has not come, and is no head then.
    """

    def __init__(self, market: Market) -> None:
        super().__init__(capacity=CAPACITY, press_back=0.0)
        self._market = market
        self.reported: set[tuple[str, int]] = set()
        self._newest: tuple[str, int] | None = None

    def add_hole(self, hole: Hole) -> None:
        if hole.cause in ("jump", "late", "silence"):
            self._report(hole)
        if hole.cause == "late":
            assert hole.end + LATE_AFTER_MS <= self._market.now, f"called late too soon: {hole}"
        super().add_hole(hole)

    def listen(self) -> None:
        """A new frame: what it reveals is not what it holds."""
        self._newest = None

    def give_back(self, hole: Hole) -> None:
        """What the writer could not record."""
        super().add_hole(hole)

    def _report(self, hole: Hole) -> None:
        assert hole.start % MINUTE_MS == hole.end % MINUTE_MS == 0, hole
        assert hole.end <= self._market.now, f"reported before it is over: {hole}"
        minutes = {(hole.symbol, m) for m in range(minute_of(hole.start), minute_of(hole.end))}
        assert not minutes & self.reported, f"reported twice: {minutes & self.reported}"
        self.reported |= minutes
        self._newest = hole.symbol, minute_of(hole.end) - 1

    async def put(self, item: Item) -> None:
        key = item.candle.symbol, minute_of(item.candle.time)
        assert not (item.is_head and key in self.reported), f"called head after it was reported: {key}"
        assert item.known_at >= self._market.final_at(*key), f"known before it was over: {item}"
        assert self._newest != key, f"reported by its own candle: {key}"
        await super().put(item)


class WatchedIngest(Ingest):
    """Tells the buffer where each frame begins: of frames that were held, several are taken at once."""

    buffer: WatchedBuffer

    async def _kline(self, event: KlineEvent) -> None:
        self.buffer.listen()
        await super()._kline(event)


@dataclass
class Line:
    """What the watchdog asks of a connection and its session: it lives, and nothing waits unread on it."""

    symbols: tuple[str, ...]
    last_frame: float
    caught_up: bool = True

    @property
    def session(self) -> Self:
        return self


class Feeder:
    """One process. What it holds in memory goes with it."""

    def __init__(self, market: Market, store: Store, *, exchange_answers: bool) -> None:
        now = market.now if exchange_answers else ms(0) + store.ledger.now
        if exchange_answers:
            store.advance(now)
        start = Start(list(SYMBOLS), now, confirmed=exchange_answers)
        self.start = start.head
        self.buffer = WatchedBuffer(market)
        self.market = MarketClock()
        self.market.advance(start.now)
        self._clock = MachineClock(market)
        self.ingest = WatchedIngest(start.symbols, start.head, self.buffer, self.market, self._clock)
        self.ingest.buffer = self.buffer
        self._line = Line(SYMBOLS, self._clock.monotonic())
        self._watchdog = Watchdog(self.ingest, [], self.buffer, self.market, self._clock, THRESHOLD)
        self.committed = dict.fromkeys(SYMBOLS, start.head)
        self.audited = False
        self.forgotten: set[tuple[str, int]] = set()
        self._batch: list[Item] = []
        self._store = store

    def hear(self, raw: bytes) -> None:
        """A frame arrives."""
        before = self._holes()
        self._line.last_frame = self._clock.monotonic()
        LOOP.run_until_complete(self.ingest.frame(raw))
        self._note_forgotten(before)

    def silence(self, symbol: str) -> None:
        """What the watchdog does about a stream that is silent for too long."""
        before = self._holes()
        self._watchdog._owe(symbol, self.market.now_ms)
        self._note_forgotten(before)

    def look(self, *, guess: bool) -> None:
        """What the watchdog does once a second about minutes whose final frame should have come."""
        before = self._holes()
        self._watchdog._late(cast(Stream, self._line), self._clock.monotonic(), guess=guess)
        self._note_forgotten(before)
        due = floor_minute(max(self.ingest.pushed.values()) - LATE_AFTER_MS) - MINUTE_MS
        for symbol, sequence in self.ingest.sequences.items():
            if self._clock.monotonic() - self.ingest.heard[symbol] < LATE_FOR_SECONDS:
                seen = sequence.head >= due or (symbol, minute_of(due)) in self.buffer.reported
                assert seen, f"{symbol}: {minute_of(due)} is late and nobody said so"

    def _holes(self) -> set[tuple[str, int]]:
        return {(h.symbol, m) for h in self.buffer.holes for m in range(minute_of(h.start), minute_of(h.end))}

    def _note_forgotten(self, before: set[tuple[str, int]]) -> None:
        """Holes beyond the capacity are left to an audit, by design."""
        if len(self.buffer.holes) == CAPACITY:
            self.forgotten |= before - self._holes()

    def in_memory(self) -> set[tuple[str, int]]:
        """The minutes this process still has to write or to report."""
        shed = self.buffer._shed.items()
        return (
            {(item.candle.symbol, minute_of(item.candle.time)) for item in self.buffer.peek(len(self.buffer))}
            | self._holes()
            | {(s, m) for s, (start, end) in shed for m in range(minute_of(start), minute_of(end))}
        )

    def record_holes(self) -> None:
        """``Writer._record_holes``."""
        before = self._holes()
        holes: list[Hole] = self.buffer.take_holes()
        before |= {(h.symbol, m) for h in holes for m in range(minute_of(h.start), minute_of(h.end))}
        while holes:
            try:
                self._store.record_missing(holes[0].symbol, holes[0].start, holes[0].end)
            except DatabaseAwayError:
                for kept in holes:
                    self.buffer.give_back(kept)
                self._note_forgotten(before)
                raise
            holes.pop(0)

    def begin_batch(self, most: int) -> None:
        """``Writer._serve`` up to the moment the rows are on their way."""
        self.record_holes()
        self._batch = self.buffer.peek(most)

    def end_batch(self, steps: int) -> None:
        """``Writer._write``; the connection breaks after ``steps`` of its steps, where there are more."""
        batch, self._batch = self._batch, []
        for step, is_head in enumerate((True, False)):
            if steps == step:
                raise DatabaseAwayError
            self._write([item for item in batch if item.is_head is is_head], head=is_head)
        if steps == 2:
            raise DatabaseAwayError  # committed, and nobody heard of it
        self.buffer.drop(batch)
        before = self._holes()
        for hole in refused_holes(batch):
            self.buffer.add_hole(hole)
        self._note_forgotten(before)
        for item in batch:
            symbol, time = item.candle.symbol, item.candle.time
            self.committed[symbol] = max(self.committed[symbol], time)

    def _write(self, items: Iterable[Item], *, head: bool) -> None:
        rows = [Row(item.candle, item.known_at) for item in items]
        if rows:
            self._store.write(rows, source=Source.STREAM, head=head)

    def audit(self) -> None:
        """``Auditor._audit``."""
        for symbol in SYMBOLS:
            expected = self._store.ledger.expected(symbol)
            end = audited_end(ms(expected.stop), self.committed[symbol])
            if ms(expected.start) < end:
                self._store.record_missing(symbol, ms(expected.start), end)
                self.forgotten = {(s, m) for s, m in self.forgotten if s != symbol or ms(m) >= end}
        self.audited = True

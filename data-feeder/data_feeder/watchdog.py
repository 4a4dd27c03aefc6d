"""Minutes that do not come and streams that say nothing, looked for once a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from data_feeder.buffer import Buffer, Note
from data_feeder.ingest import Ingest
from data_feeder.sequence import LATE_AFTER_MS
from data_feeder.stream import Stream
from marketdata import metrics
from marketdata.clock import Clock, MarketClock
from marketdata.log import get_logger

log = get_logger(__name__)

SILENCE_PAUSE_MOST: Final = 3600.0
LATE_FOR_SECONDS: Final = 600.0
"""A symbol silent for longer owes its minutes by the pauses of silence, not one by one: it may be halted."""
_GUESS_MS: Final = 2_000
"""Added to ``LATE_AFTER_MS`` where the exchange's time is taken from frames that carry none."""
_LOOK_SECONDS: Final = 1.0
_ON_TIME_SECONDS: Final = 1.5


def silent_symbols(heard: Mapping[str, float], now: float, threshold: float) -> list[str]:
    """Return the symbols last heard more than ``threshold`` seconds before ``now``."""
    return [symbol for symbol, at in heard.items() if now - at > threshold]


class Watchdog:
    """Replaces the connection of a silent stream and reports the minutes that are owed.

    A minute is late by the time its own connection has shown, not by another's or by our clock: what
    waits unread on a socket while this process stalls comes before the frame that would make it late.
    """

    def __init__(
        self,
        ingest: Ingest,
        streams: Sequence[Stream],
        buffer: Buffer,
        market: MarketClock,
        clock: Clock,
        threshold: int,
    ) -> None:
        self.silent: list[str] = []
        self._ingest = ingest
        self._streams = streams
        self._buffer = buffer
        self._market = market
        self._clock = clock
        self._threshold = threshold
        self._next: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Watch, and sample the book once a second, until cancelled."""
        before, punctual = self._clock.monotonic(), 0
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            now = self._clock.monotonic()
            punctual = punctual + 1 if now - before < _ON_TIME_SECONDS else 0
            before = now
            self._ingest.book.sample()
            for stream in self._streams:
                # After a stall the sockets are read first: two looks on time have let that happen.
                self._late(stream, now, guess=punctual >= 2)
            self._silence(now)
            exchange_now = self._ingest.exchange_time.now(now)
            if exchange_now is not None:
                metrics.CLOCK_OFFSET.set((self._clock.wall_ms() - exchange_now) / 1000)

    def _late(self, stream: Stream, now: float, *, guess: bool) -> None:
        """Report the minutes of a live connection whose final frame should have come by now."""
        ingest, session = self._ingest, stream.session
        if session is None:
            return
        newest = max(stream.symbols, key=ingest.pushed.__getitem__)
        shown = ingest.pushed[newest]
        if not shown:
            return
        end = shown - LATE_AFTER_MS
        if guess and session.caught_up:
            # Quotes carry no time, but each one says that the socket lives and time went on.
            elapsed = min(session.last_frame - ingest.heard[newest], self._threshold)
            end = max(end, shown + int(elapsed * 1000) - LATE_AFTER_MS - _GUESS_MS)
        for symbol in stream.symbols:
            if now - ingest.heard[symbol] < LATE_FOR_SECONDS:
                hole = ingest.sequences[symbol].overdue(end, "late")
                if hole is not None:
                    self._buffer.add_hole(hole)

    def _silence(self, now: float) -> None:
        heard = self._ingest.heard
        self.silent = silent_symbols(heard, now, self._threshold)
        for symbol in set(self._next) - set(self.silent):
            del self._next[symbol]
        silent = set(self.silent)
        for stream in self._streams:
            session = stream.session
            owed = [symbol for symbol in stream.symbols if symbol in silent]
            if session is None:
                # Known to be dead and being replaced. Its minutes are owed by the others' time.
                for symbol in owed:
                    self._owe(symbol, self._market.now_ms - self._threshold * 1000)
                continue
            # Silence counts from the subscription: a new socket has its time to speak.
            since = session.delivering_since
            due = [s for s in owed if now - since > self._threshold and now >= self._next.get(s, (now,))[0]]
            for symbol in due:
                self._report(symbol, now)
            if due:
                everyone = len(owed) == len(stream.symbols)
                stream.replace("every stream is silent" if everyone else "")

    def _report(self, symbol: str, now: float) -> None:
        # A halt may last for days: ask again after one, two, four … thresholds, up to an hour.
        pause = min(max(self._next.get(symbol, (0.0, 0.0))[1] * 2, self._threshold), SILENCE_PAUSE_MOST)
        self._next[symbol] = now + pause, pause
        seconds = round(now - self._ingest.heard[symbol])
        log.warning("stream_silent", symbol=symbol, seconds=seconds)
        metrics.STREAMS_SILENT.inc()
        self._buffer.add_note(Note("stale", symbol, {"silent_seconds": str(seconds)}))
        self._owe(symbol, self._market.now_ms)

    def _owe(self, symbol: str, until: int) -> None:
        hole = self._ingest.sequences[symbol].overdue(until, "silence")
        if hole is not None:
            self._buffer.add_hole(hole)

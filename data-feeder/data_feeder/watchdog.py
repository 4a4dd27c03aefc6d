"""Silence on any one kline stream, counted from its subscription or its last frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from data_feeder.buffer import Buffer, Note
from data_feeder.ingest import Ingest
from data_feeder.stream import Stream
from marketdata.clock import Clock, MarketClock
from marketdata.log import get_logger

log = get_logger(__name__)


SILENCE_PAUSE_MOST: Final = 3600.0


def silent_symbols(heard: Mapping[str, float], now: float, threshold: float) -> list[str]:
    """Return the symbols last heard more than ``threshold`` seconds before ``now``."""
    return [symbol for symbol, at in heard.items() if now - at > threshold]


class Watchdog:
    """Replaces the connection of a silent stream and reports the minutes it owes."""

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
        while True:
            await self._clock.sleep(1.0)
            self._ingest.book.sample()
            self._look(self._clock.monotonic())

    def _look(self, now: float) -> None:
        self.silent = silent_symbols(self._ingest.heard, now, self._threshold)
        for symbol in set(self._next) - set(self.silent):
            del self._next[symbol]
        due = [symbol for symbol in self.silent if now >= self._next.get(symbol, (now, 0.0))[0]]
        for symbol in due:
            # A halt may last for days: ask again after one, two, four … thresholds, up to an hour.
            pause = min(max(self._next.get(symbol, (0.0, 0.0))[1] * 2, self._threshold), SILENCE_PAUSE_MOST)
            self._next[symbol] = now + pause, pause
            hole = self._ingest.sequences[symbol].silent(self._market.now_ms)
            log.warning("stream_silent", symbol=symbol, seconds=round(now - self._ingest.heard[symbol]))
            self._buffer.add_note(
                Note("stale", symbol, {"silent_seconds": f"{now - self._ingest.heard[symbol]:.0f}"})
            )
            if hole is not None:
                self._buffer.add_hole(hole)
        for stream in self._streams:
            if set(due) & set(stream.symbols):
                stream.replace()

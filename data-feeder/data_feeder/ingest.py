"""What each decoded frame sets off. The only caller of the sequences and the book recorder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from data_feeder.book import BookRecorder
from data_feeder.buffer import Buffer, Item
from data_feeder.sequence import Sequence
from marketdata import metrics
from marketdata.binance.messages import Event, decode
from marketdata.clock import Clock, MarketClock
from marketdata.errors import DecodeError
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS, KlineEvent, Quote

log = get_logger(__name__)


AHEAD_MOST_MS: Final = 86_400_000
"""A frame further ahead of every clock we have is not believed: one would make years of history missing."""


def plausible(event: KlineEvent, now_ms: int) -> bool:
    """Return whether a frame's times can be true: on the minute, pushed after it began, not far ahead."""
    time = event.candle.time
    return 0 < time < event.event_time <= now_ms + AHEAD_MOST_MS and time % MINUTE_MS == 0


class Ingest:
    """Frames in; candles, book minutes and holes out to the buffer."""

    def __init__(
        self, symbols: Iterable[str], head: int, buffer: Buffer, market: MarketClock, clock: Clock
    ) -> None:
        self.sequences = {symbol: Sequence(symbol, head) for symbol in symbols}
        self.heard = {symbol: clock.monotonic() for symbol in self.sequences}
        self.book = BookRecorder()
        self._buffer = buffer
        self._market = market
        self._clock = clock
        self._undecoded = 0

    async def frame(self, raw: bytes | str) -> Event | None:
        """Take in one frame and return what it said; what concerns the connection is its reader's.

        A frame that is not of the protocol is counted and logged, and costs nothing else.
        """
        try:
            event = decode(raw)
        except DecodeError as error:
            metrics.FRAMES_UNDECODED.inc()
            self._undecoded += 1
            if (
                self._undecoded & (self._undecoded - 1) == 0
            ):  # the 1st, 2nd, 4th, 8th …: a flood stays readable
                log.warning("frame_undecoded", reason=str(error), count=self._undecoded)
            return None
        if isinstance(event, KlineEvent) and not plausible(
            event, max(self._market.now_ms, self._clock.wall_ms())
        ):
            metrics.FRAMES_UNDECODED.inc()
            log.warning(
                "frame_implausible",
                symbol=event.candle.symbol,
                pushed=event.event_time,
                open=event.candle.time,
            )
            return None
        if isinstance(event, KlineEvent):
            metrics.FRAMES.labels("kline").inc()
            await self._kline(event)
        elif isinstance(event, Quote):
            metrics.FRAMES.labels("bookTicker").inc()
            if event.symbol in self.sequences:
                self.book.update(event)
        return event

    async def _kline(self, event: KlineEvent) -> None:
        sequence = self.sequences.get(event.candle.symbol)
        if sequence is None:
            return
        now = self._clock.monotonic()
        self.heard[sequence.symbol] = now
        self._market.advance(event.event_time)
        self._buffer.add_books(self.book.advance(self._market.now_ms))
        step = sequence.observe(event)
        if step.hole is not None:
            self._buffer.add_hole(step.hole)
        if event.final:
            self._buffer.add_books(self.book.close(sequence.symbol, event.candle.time))
            await self._buffer.put(Item(event.candle, event.event_time, now, step.is_head))

"""What each decoded frame sets off. The only caller of the sequences and the book recorder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from data_feeder.book import BookRecorder
from data_feeder.buffer import Buffer, Item
from data_feeder.sequence import Sequence
from marketdata import metrics
from marketdata.binance.messages import Event, decode
from marketdata.clock import Clock, ExchangeTime, MarketClock
from marketdata.errors import DecodeError
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS, KlineEvent, Quote

log = get_logger(__name__)


LATEST_PUSH_MS: Final = 2 * MINUTE_MS
"""A minute is pushed while it runs and once after its end; a frame later than this is REST's business."""
AHEAD_MS: Final = 10 * MINUTE_MS
"""A frame further ahead of the market's clock is believed only when others agree with it."""
AGREEING: Final = 3

_KLINES: Final = metrics.FRAMES.labels("kline")
_QUOTES: Final = metrics.FRAMES.labels("bookTicker")


def plausible(event: KlineEvent) -> bool:
    """Return whether a frame's times can be true: pushed in the minute or soon after it."""
    time = event.candle.time
    return 0 < time < event.event_time <= time + LATEST_PUSH_MS and time % MINUTE_MS == 0


class Ahead:
    """Frames that claim a time far ahead, until enough of them in a row claim the same. Pure.

    One believed frame would move the market's clock for good, and make an hour that has not been yet
    missing. The machine's own clock is no witness: it may be wrong by more than that.
    """

    def __init__(self) -> None:
        self._held: list[KlineEvent] = []

    def usual(self, event: KlineEvent, market_now: int) -> bool:
        """Return whether a frame is to be taken in and nothing else is to be done."""
        return not self._held and bool(market_now) and event.event_time <= market_now + AHEAD_MS

    def admit(self, event: KlineEvent, market_now: int) -> tuple[list[KlineEvent], list[KlineEvent]]:
        """Return what may be taken in now, in order, and what is refused for good."""
        if not market_now or event.event_time <= market_now + AHEAD_MS:
            refused, self._held = self._held, []
            return [event], refused
        refused = []
        if self._held and abs(event.event_time - self._held[0].event_time) > AHEAD_MS:
            refused, self._held = self._held, []
        if event not in self._held:
            self._held.append(event)
        if len(self._held) < AGREEING:
            return [], refused
        taken, self._held = self._held, []
        return taken, refused


class Ingest:
    """Frames in; candles, book minutes and holes out to the buffer."""

    def __init__(
        self, symbols: Iterable[str], head: int, buffer: Buffer, market: MarketClock, clock: Clock
    ) -> None:
        self.sequences = {symbol: Sequence(symbol, head) for symbol in symbols}
        self.heard = {symbol: clock.monotonic() for symbol in self.sequences}
        self.pushed = dict.fromkeys(self.sequences, 0)
        """The newest exchange time (ms) pushed with each symbol."""
        self.exchange_time = ExchangeTime()
        self.book = BookRecorder()
        self._buffer = buffer
        self._market = market
        self._clock = clock
        self._klines = self._quotes = 0
        self._late: list[float] = []
        self._undecoded = 0
        self._ahead = Ahead()

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
        if isinstance(event, KlineEvent):
            if not plausible(event):
                self._refuse(event)
                return None
            if self._ahead.usual(event, self._market.now_ms):
                self._klines += 1
                await self._kline(event)
                return event
            taken, refused = self._ahead.admit(event, self._market.now_ms)
            for lone in refused:
                self._refuse(lone)
            for believed in taken:
                self._klines += 1
                await self._kline(believed)
        elif isinstance(event, Quote):
            self._quotes += 1
            if event.symbol in self.sequences:
                self.book.update(event)
        return event

    def count(self) -> None:
        """Put what was taken in since the last call into the metrics: once for many frames."""
        if self._klines:
            _KLINES.inc(self._klines)
        if self._quotes:
            _QUOTES.inc(self._quotes)
        self._klines = self._quotes = 0
        if self._late:
            metrics.FRAME_LATENESS_SECONDS.observe_all(self._late)
            self._late = []

    def _refuse(self, event: KlineEvent) -> None:
        metrics.FRAMES_UNDECODED.inc()
        log.warning(
            "frame_implausible",
            symbol=event.candle.symbol,
            pushed=event.event_time,
            open=event.candle.time,
        )

    async def _kline(self, event: KlineEvent) -> None:
        sequence = self.sequences.get(event.candle.symbol)
        if sequence is None:
            return
        pushed, symbol = event.event_time, sequence.symbol
        now = self._clock.monotonic()
        self.heard[symbol] = now
        if pushed > self.pushed[symbol]:
            self.pushed[symbol] = pushed
        late = self.exchange_time.observe(pushed, now)
        self._market.advance(pushed)
        if self.book.over(self._market.now_ms):
            self._buffer.add_books(self.book.advance(self._market.now_ms))
        step = sequence.observe(event)
        if step.hole is not None:
            self._buffer.add_hole(step.hole)
        if event.final:
            self._late.append(late)
            self._buffer.add_books(self.book.close(symbol, event.candle.time))
            await self._buffer.put(Item(event.candle, pushed, now, step.is_head))

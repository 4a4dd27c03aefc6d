"""Builds the frames of one due event, for subscribed streams only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exchange_simulator.book import top_of_book
from exchange_simulator.clock import MarketClock
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.intervals import INTERVALS, aggregate, end_of, start_of
from exchange_simulator.market import Market
from exchange_simulator.rows import MINUTE_MS, row_of
from exchange_simulator.streams.frames import BookFrame, Frame, KlineFrame
from exchange_simulator.streams.lane import Lane
from exchange_simulator.streams.schedule import Act, Due, final_lateness

_LONGER = tuple(interval for interval in INTERVALS if interval != "1m")


class Composer:
    """Frames from market data. ``subscribed`` is looked up by stream name before any work is done."""

    def __init__(
        self,
        clock: MarketClock,
        market: Market,
        config: SimulatorConfig,
        subscribed: Mapping[str, object],
    ) -> None:
        self._lanes = [Lane(market, symbol, index) for index, symbol in enumerate(market.symbols)]
        self.specs = [lane.spec for lane in self._lanes]
        self._clock = clock
        self._market = market
        self._config = config
        self._subscribed = subscribed

    def compose(self, due: Due) -> list[Frame]:
        """All frames of ``due``, in the order of the symbols."""
        return self._books(due) if due.act is Act.BOOK else list(self._klines(due))

    def early_finals(self, minute: int) -> list[Due]:
        """Events for candles of ``minute`` that end before their minute does (the start of a halt)."""
        dues: list[Due] = []
        for lane in self._lanes:
            if lane.load(minute) and lane.close_time < minute + MINUTE_MS - 1:
                late = final_lateness(self._config, lane.spec, minute // MINUTE_MS)
                at = min(lane.close_time + 1 + late, minute + MINUTE_MS - 1)
                dues.append(Due(at, Act.EARLY_FINAL, minute, (lane.index,)))
        return dues

    def _books(self, due: Due) -> list[Frame]:
        at, minute, subscribed = due.at, due.minute, self._subscribed
        frames: list[Frame] = []
        for index in due.symbols:
            lane = self._lanes[index]
            if lane.book in subscribed and lane.load(minute) and lane.path and at <= lane.active_until:
                top = top_of_book(lane.spec, lane.sizes, lane.path.prices(at)[2], at)
                frames.append(BookFrame(lane.book, lane.symbol, top, at))
        return frames

    def _klines(self, due: Due) -> Iterator[Frame]:
        subscribed = self._subscribed
        longer = any("@kline_" in name and not name.endswith("@kline_1m") for name in subscribed)
        for index in due.symbols:
            lane = self._lanes[index]
            if lane.kline in subscribed and (frame := self._minute(lane, due)):
                yield frame
            for interval in _LONGER if longer else ():
                stream = f"{lane.prefix}@kline_{interval}"
                if stream in subscribed and (frame := self._longer(lane, stream, interval, due)):
                    yield frame

    def _minute(self, lane: Lane, due: Due) -> Frame | None:
        if not lane.load(due.minute) or lane.path is None or lane.row is None:
            return None
        if due.act is Act.OPEN:
            # Quiet symbols push nothing until something trades.
            if due.at > lane.active_until:
                return None
            now = row_of(lane.path.candle(due.at))
            return KlineFrame(lane.kline, lane.symbol, "1m", now, lane.first_id, due.at, False)
        event = due.at
        if due.act is Act.FINAL:
            end = due.minute + MINUTE_MS
            if lane.close_time < end - 1:
                return None
            if self._clock.speed is None:
                event = end + final_lateness(self._config, lane.spec, end // MINUTE_MS)
        return KlineFrame(lane.kline, lane.symbol, "1m", lane.row, lane.first_id, event, True)

    def _longer(self, lane: Lane, stream: str, interval: str, due: Due) -> Frame | None:
        symbol = lane.symbol
        start = start_of(interval, due.minute)
        end = end_of(interval, start)
        final = due.act is Act.FINAL
        if due.act is Act.EARLY_FINAL or (final and due.minute + MINUTE_MS != end):
            return None
        bars = aggregate(self._market.minutes(symbol, start, end - 1, due.at, self._market.halts), interval)
        if not len(bars):
            return None
        first_id = self._first_id(symbol, start, end)
        return KlineFrame(stream, symbol, interval, row_of(bars[0].tolist()), first_id, due.at, final)

    def _first_id(self, symbol: str, start: int, end: int) -> int:
        for minute in range(start, end, MINUTE_MS):
            place = self._market.place(symbol, minute)
            if place:
                return place.day.first_trade_id(place.position)
        return -1

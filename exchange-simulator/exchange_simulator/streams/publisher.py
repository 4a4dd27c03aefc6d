"""Follows market time and sends what becomes due."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from exchange_simulator.clock import MarketClock
from exchange_simulator.config import SimulatorConfig
from exchange_simulator.market import Market
from exchange_simulator.rows import DAY_MS, MINUTE_MS
from exchange_simulator.streams.composer import Composer
from exchange_simulator.streams.frames import Frame
from exchange_simulator.streams.hub import Hub
from exchange_simulator.streams.schedule import Due, due_in_minute, in_order

# Spreads the making of tomorrow's candles over the day, done well before midnight.
_PREFETCH_MINUTES = 1_400


class Publisher:
    """Sends what is due. ``distort`` may change, drop or add frames on their way (faults)."""

    def __init__(
        self,
        clock: MarketClock,
        market: Market,
        hub: Hub,
        config: SimulatorConfig,
        distort: Callable[[list[Frame]], list[Frame]],
    ) -> None:
        self._clock = clock
        self._market = market
        self._hub = hub
        self._config = config
        self._distort = distort
        self._composer = Composer(clock, market, config, hub.subscribers)
        self._deferred: list[tuple[int, int, Frame]] = []
        self._order = count()

    def defer(self, at_ms: int, frame: Frame) -> None:
        """Send ``frame`` at a later market time, untouched by faults."""
        heapq.heappush(self._deferred, (at_ms, next(self._order), frame))

    async def run(self) -> None:
        """Publish until cancelled."""
        clock = self._clock
        jumps, done = clock.jumps, clock.jumped_to - 1
        while True:
            if jumps != clock.jumps:
                # What lay in between was never sent.
                jumps, done = clock.jumps, clock.jumped_to - 1
            generation = clock.generation
            minute = (done + 1) // MINUTE_MS * MINUTE_MS
            for due in self._plan(minute):
                if due.at <= done:
                    continue
                if not await self._reach(due.at, generation):
                    break
                self._send(due)
                done = due.at
                # Also lets readers and requests have their turn when time is short.
                await asyncio.sleep(0)
                if clock.speed is None:
                    await self._hub.drained()
            else:
                self._prefetch(minute)
                done = minute + MINUTE_MS - 1

    def _send(self, due: Due) -> None:
        frames = self._composer.compose(due)
        if frames:
            self._hub.publish(self._distort(frames))

    def _plan(self, minute: int) -> list[Due]:
        dues = due_in_minute(self._config, self._composer.specs, self._clock.speed, minute)
        if self._market.source.irregular:
            dues = in_order(dues + self._composer.early_finals(minute))
        return dues

    async def _reach(self, at_ms: int, generation: int) -> bool:
        while self._deferred and self._deferred[0][0] <= at_ms:
            if generation != self._clock.generation or not await self._clock.reach(self._deferred[0][0]):
                return False
            self._hub.publish([heapq.heappop(self._deferred)[2]])
        return generation == self._clock.generation and await self._clock.reach(at_ms)

    def _prefetch(self, minute: int) -> None:
        if self._hub.subscribers:
            offset = minute % DAY_MS // MINUTE_MS
            for symbol in self._market.symbols[offset::_PREFETCH_MINUTES]:
                self._market.source.day(symbol, minute // DAY_MS + 1)

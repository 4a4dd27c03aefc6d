"""Market time: runs at any speed, pauses, jumps ahead, or follows its readers. Nothing else reads a clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from exchange_simulator.errors import ClockError

_LONGEST_NAP_S = 3600.0


def monotonic() -> float:
    """Real seconds since some moment, for durations."""
    return time.monotonic()


def wall_seconds() -> float:
    """Real Unix time in seconds, for what Binance counts in real minutes."""
    return time.time()


class MarketClock:
    """Market time in Unix milliseconds.

    ``speed`` is market seconds per real second; None means "max": time stands still between events
    and moves to the next one when :meth:`reach` is called, and only while ``audience`` is true.
    Market time never runs backwards. At ``end_ms`` it stops.
    """

    def __init__(
        self,
        start_ms: int,
        speed: float | None = 1.0,
        end_ms: int | None = None,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._speed = speed
        self._end = end_ms
        self._base_ms = float(start_ms)
        self._base_real = monotonic()
        self._paused = False
        self._generation = 0
        self._jumps = 0
        self._jumped_to = start_ms
        self._changed = asyncio.Event()
        self._audience = asyncio.Event()

    @property
    def speed(self) -> float | None:
        """Market seconds per real second, None for max."""
        return self._speed

    @property
    def paused(self) -> bool:
        """True while time stands still by request."""
        return self._paused

    @property
    def end_ms(self) -> int | None:
        """Where time stops, Unix ms."""
        return self._end

    @property
    def generation(self) -> int:
        """Grows with every jump, pause or change of speed."""
        return self._generation

    @property
    def jumps(self) -> int:
        """How often time was moved ahead."""
        return self._jumps

    @property
    def jumped_to(self) -> int:
        """Where time went on after the last jump, or began; Unix ms."""
        return self._jumped_to

    def now_ms(self) -> int:
        """Market time, Unix ms."""
        now = self._base_ms
        if self._speed is not None and not self._paused:
            now += (self._monotonic() - self._base_real) * 1000.0 * self._speed
        return int(now if self._end is None else min(now, self._end))

    def now_us(self) -> int:
        """Market time, Unix µs (a whole millisecond)."""
        return self.now_ms() * 1000

    def pause(self) -> None:
        """Stop time."""
        self._rebase()
        self._paused = True
        self._notify()

    def resume(self) -> None:
        """Let time go on from where it stopped."""
        self._rebase()
        self._paused = False
        self._notify()

    def set_speed(self, speed: float | None) -> None:
        """Change speed from now on; None is max. Raises ClockError unless positive."""
        if speed is not None and not speed > 0:
            raise ClockError("speed must be positive or max")
        self._rebase()
        self._speed = speed
        self._notify()

    def jump(self, to_ms: int) -> None:
        """Move ahead; whatever would have been streamed in between is lost, as for a client asleep.

        Raises ClockError when ``to_ms`` lies in the past.
        """
        if to_ms < self.now_ms():
            raise ClockError("market time never runs backwards")
        self._rebase()
        self._base_ms = float(to_ms)
        self._jumps += 1
        self._jumped_to = to_ms
        self._notify()

    def set_audience(self, present: bool) -> None:
        """Say whether anyone listens; at max speed time moves only then."""
        if present:
            self._audience.set()
        else:
            self._audience.clear()

    async def reach(self, at_ms: int) -> bool:
        """Wait until ``at_ms``. False as soon as a jump or a new speed makes the caller's plan stale."""
        generation = self._generation
        while True:
            if generation != self._generation:
                return False
            # Cleared before looking, so that a change between look and wait isn't missed.
            self._changed.clear()
            now = self.now_ms()
            if now >= at_ms:
                return True
            if self._end is not None and at_ms > self._end:
                if self._speed is None and self._audience.is_set() and not self._paused:
                    self._base_ms = max(self._base_ms, float(self._end))
                await self._wait(None)
            elif self._paused:
                await self._wait(None)
            elif self._speed is not None:
                await self._wait((at_ms - now) / 1000.0 / self._speed)
            elif self._audience.is_set():
                self._base_ms = float(at_ms)
                return True
            else:
                await self._wait_for_audience()

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(None if seconds is None else min(seconds, _LONGEST_NAP_S)):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _wait_for_audience(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._audience, self._changed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _rebase(self) -> None:
        self._base_ms = float(self.now_ms())
        self._base_real = self._monotonic()

    def _notify(self) -> None:
        self._generation += 1
        self._changed.set()

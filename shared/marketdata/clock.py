"""The local clock, passed to whoever needs it. It measures silence and backoff, nothing else.

What time the market has is ``market_now()`` in the database and ``MarketClock`` in a process: the
greatest exchange time seen, never extrapolated.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol


class Clock(Protocol):
    """Local time; tests pass a fake."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""

    def wall_ms(self) -> int:
        """Unix milliseconds as this machine has them: good for a plausibility check, not for data."""

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Unix milliseconds as this machine has them: good for a plausibility check, not for data."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)


class MarketClock:
    """The greatest exchange time this process has seen, Unix milliseconds; 0 before the first."""

    def __init__(self) -> None:
        self.now_ms = 0

    def advance(self, time_ms: int) -> None:
        """Take note of an exchange time; an older one changes nothing."""
        if time_ms > self.now_ms:
            self.now_ms = time_ms


_DRIFT: Final = 5e-5
"""How much faster or slower than the exchange's an undisciplined clock may run: 4.3 s a day."""


class ExchangeTime:
    """What time the exchange has now, by the frame that came quickest; no wall clock is asked.

    An estimate for looking at ourselves (how late frames are, how wrong this machine's clock is);
    never for data.
    """

    def __init__(self) -> None:
        self._ahead_ms: float | None = None
        self._at = 0.0

    def observe(self, pushed_ms: int, now: float) -> float:
        """Take note of a frame pushed at ``pushed_ms`` (Unix ms) and in hand at ``now`` (monotonic
        seconds); return how many seconds later than the quickest it came.
        """
        ahead = pushed_ms - now * 1000
        best = self._best(now)
        if best is None or ahead >= best:
            self._ahead_ms, self._at = ahead, now
            return 0.0
        return (best - ahead) / 1000

    def now(self, now: float) -> float | None:
        """Return the exchange's time (Unix ms) at ``now`` (monotonic seconds); None before a frame."""
        best = self._best(now)
        return None if best is None else best + now * 1000

    def _best(self, now: float) -> float | None:
        return None if self._ahead_ms is None else self._ahead_ms - _DRIFT * (now - self._at) * 1000

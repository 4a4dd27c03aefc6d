"""The local clock, passed to whoever needs it. It measures silence and backoff, nothing else.

What time the market has is ``market_now()`` in the database and ``MarketClock`` in a process: the
greatest exchange time seen, never extrapolated.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


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

"""How long the event loop keeps everybody waiting: a task that sleeps, and what it oversleeps."""

from __future__ import annotations

from typing import Final

from marketdata import metrics
from marketdata.clock import Clock

LOOK_SECONDS: Final = 0.05
"""Longer than what is looked for, so that no turn much longer than a few milliseconds is missed for long."""


async def watch(clock: Clock) -> None:
    """Measure until cancelled, into ``event_loop_lag_seconds``."""
    while True:
        asleep = clock.monotonic()
        await clock.sleep(LOOK_SECONDS)
        metrics.EVENT_LOOP_LAG_SECONDS.observe(max(0.0, clock.monotonic() - asleep - LOOK_SECONDS))

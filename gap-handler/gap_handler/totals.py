"""What this process has done since its start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Totals:
    """Counts for /health; /metrics has the same as counters."""

    backfills_completed: int = 0
    candles_recovered: int = 0
    running: int = 0

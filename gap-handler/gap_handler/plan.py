"""Which pages to ask for, and which of their rows to keep. Pure: no await, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.minutes import floor_minute
from marketdata.models import MINUTE_MS

MAX_CLAIM_MINUTES: Final = 31 * 1440
"""Most minutes one worker takes at a time: a calendar month. The rest of a larger gap is for the others."""

SETTLING_MS: Final = 1_000
"""The time may come from a stream that is ahead of the host that answers; a REST row is never replaced
by the stream's, so it must be the last word."""


class Run(NamedTuple):
    """Minutes ``[start, end)``, Unix milliseconds."""

    start: int
    end: int

    @property
    def minutes(self) -> int:
        """How many minutes it spans."""
        return (self.end - self.start) // MINUTE_MS


def minutes_of(runs: Iterable[Run]) -> int:
    """Return how many minutes the runs hold together."""
    return sum(run.minutes for run in runs)


def next_missing(runs: Sequence[Run], at: int) -> int | None:
    """Return the first missing minute at or after ``at``; ``runs`` are ascending."""
    for run in runs:
        if at < run.end:
            return max(at, run.start)
    return None


def is_final(row: RestCandle, now_ms: int) -> bool:
    """Whether the row's minute has been over for ``SETTLING_MS`` by the exchange's own clock.

    A row may name a close before its minute's end (some rows before an outage do): the later counts.
    """
    return max(row.close_time, row.candle.time + MINUTE_MS - 1) + SETTLING_MS < now_ms


def usable(rows: Iterable[RestCandle], within: Run, now_ms: int) -> list[RestCandle]:
    """Return the final rows that open in ``within``. The last row of an answer is often still open."""
    return [row for row in rows if within.start <= row.candle.time < within.end and is_final(row, now_ms)]


def refused_minutes(rows: Iterable[RestCandle]) -> set[int]:
    """Return the minutes for which the exchange's own row cannot be a candle."""
    return {floor_minute(row.candle.time) for row in rows if candle_problem(row.candle) is not None}


def after(rows: Sequence[RestCandle], cursor: int) -> int | None:
    """Return the minute from which to go on after a page asked from ``cursor``, None at its end.

    Always later than ``cursor``: an answer that brings nothing new ends the paging.
    """
    last = max((row.candle.time for row in rows), default=0)
    return floor_minute(last) + MINUTE_MS if last >= cursor else None

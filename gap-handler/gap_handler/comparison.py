"""What differs between the exchange's rows and the minutes that are stored. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from gap_handler.plan import Run
from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.minutes import floor_minute
from marketdata.models import MINUTE_MS


class Comparison(NamedTuple):
    """Two records of the same minutes, set against each other.

    ``shared`` rows are stored too, equal or not. ``refused`` rows cannot be candles. ``missing`` runs are
    the exchange's alone, ``unconfirmed`` minutes (Unix ms) ours alone.
    """

    shared: list[RestCandle]
    refused: list[RestCandle]
    missing: list[Run]
    unconfirmed: list[int]


def runs_of(minutes: Iterable[int]) -> list[Run]:
    """Return ascending minutes as the runs they form."""
    runs: list[Run] = []
    for minute in minutes:
        if runs and runs[-1].end == minute:
            runs[-1] = Run(runs[-1].start, minute + MINUTE_MS)
        else:
            runs.append(Run(minute, minute + MINUTE_MS))
    return runs


def compare(rows: Sequence[RestCandle], stored: AbstractSet[int]) -> Comparison:
    """Set final rows, ascending, against the stored minutes of the same range.

    A minute whose row is refused counts as the exchange's: it has something there, if nothing usable.
    """
    refused = [row for row in rows if candle_problem(row.candle) is not None]
    sound = [row for row in rows if candle_problem(row.candle) is None]
    there = {floor_minute(row.candle.time) for row in rows}
    return Comparison(
        [row for row in sound if row.candle.time in stored],
        refused,
        runs_of(row.candle.time for row in sound if row.candle.time not in stored),
        sorted(stored - there),
    )


def either(first: Sequence[RestCandle], second: Sequence[RestCandle]) -> list[RestCandle]:
    """Return the rows of two answers to one question; where both have one, the later answer's."""
    rows = {row.candle.time: row for row in (*first, *second)}
    return [rows[time] for time in sorted(rows)]

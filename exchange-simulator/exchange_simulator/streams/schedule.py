"""When frames are due within a minute. Pure arithmetic."""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import NamedTuple

from exchange_simulator.config import SimulatorConfig
from exchange_simulator.intrabar import mix
from exchange_simulator.rows import MINUTE_MS
from exchange_simulator.symbols import SymbolSpec

# Binance pushes open candles on a grid of even seconds, some 15-30 ms late.
_GRID_LATENESS_MS = 19
_SYMBOLS_PER_SLICE = 50
_MOST_SLICES = 10


class Act(Enum):
    """What is due. The order of the members is the order at the same instant."""

    FINAL = auto()
    EARLY_FINAL = auto()
    OPEN = auto()
    BOOK = auto()


class Due(NamedTuple):
    """Something to send at ``at`` about the candle opening at ``minute`` (Unix ms of market time).

    ``symbols`` are positions in the list of symbols.
    """

    at: int
    act: Act
    minute: int
    symbols: tuple[int, ...]


def open_frames(config: SimulatorConfig, speed: float | None) -> int:
    """Frames of the open candle in each minute at ``speed``."""
    if config.open_frames_per_minute is not None:
        return config.open_frames_per_minute
    return 2 if speed is None else max(2, min(29, int(30 / speed) - 1))


def book_frames(config: SimulatorConfig, speed: float | None) -> int:
    """bookTicker frames in each minute at ``speed``."""
    if config.book_frames_per_minute is not None:
        return config.book_frames_per_minute
    return 4 if speed is None else max(4, min(120, int(120 / speed)))


def final_lateness(config: SimulatorConfig, spec: SymbolSpec, minute: int) -> int:
    """How many ms after the minute (its number since 1970) the final frame is sent."""
    least, most = config.final_jitter_ms
    return least + mix(spec.salt + 1, minute) % (most - least + 1)


def due_in_minute(
    config: SimulatorConfig, specs: list[SymbolSpec], speed: float | None, start: int
) -> list[Due]:
    """Everything due in [start, start + one minute), in order. Finals are those of the minute before."""
    everyone = tuple(range(len(specs)))
    dues: list[Due] = []
    if speed is None:
        # One event for all finals: at max speed the number of events is the cost.
        dues.append(Due(start + config.final_jitter_ms[1], Act.FINAL, start - MINUTE_MS, everyone))
    else:
        late: dict[int, list[int]] = {}
        for index, spec in enumerate(specs):
            late.setdefault(final_lateness(config, spec, start // MINUTE_MS), []).append(index)
        dues += [
            Due(start + ms, Act.FINAL, start - MINUTE_MS, tuple(indexes)) for ms, indexes in late.items()
        ]
    opens = open_frames(config, speed)
    dues += [
        Due(start + MINUTE_MS * number // (opens + 1) + _GRID_LATENESS_MS, Act.OPEN, start, everyone)
        for number in range(1, opens + 1)
    ]
    books = book_frames(config, speed)
    slices = 1 if speed is None else min(_MOST_SLICES, math.ceil(len(specs) / _SYMBOLS_PER_SLICE))
    for number in range(books):
        for part in range(slices):
            at = start + MINUTE_MS * (2 * (number * slices + part) + 1) // (2 * books * slices)
            dues.append(Due(at, Act.BOOK, start, everyone[part::slices]))
    return in_order(dues)


def in_order(dues: list[Due]) -> list[Due]:
    """By time; at the same instant finals come first."""
    return sorted(dues, key=lambda due: (due.at, due.act.value))

"""Where the row's instant lies in the UTC day and week."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.models import MINUTE_MS

_DAY_MS: Final = 86_400_000
_THURSDAY: Final = 3  # the weekday of 1970-01-01, Monday being 0


def _time_of_day(columns: Columns) -> Floats:
    instant = columns.time + MINUTE_MS
    return _each(columns, (instant % _DAY_MS) / _DAY_MS)


def _day_of_week(columns: Columns) -> Floats:
    day = (columns.time + MINUTE_MS) // _DAY_MS
    return _each(columns, (day + _THURSDAY) % 7 / 7.0)


def _each(columns: Columns, phase: Floats) -> Floats:
    """The same for every symbol."""
    return np.broadcast_to(phase, columns.close.shape)


def _angle(cycle: str, argument: str, phase: Callable[[Columns], Floats]) -> tuple[Feature, Feature]:
    def sine(columns: Columns) -> Floats:
        return np.asarray(np.sin(math.tau * phase(columns)), dtype=np.float64)

    def cosine(columns: Columns) -> Floats:
        return np.asarray(np.cos(math.tau * phase(columns)), dtype=np.float64)

    def build(function: str, compute: Callable[[Columns], Floats]) -> Feature:
        return Feature(
            name=f"{cycle}_{function}",
            group="time",
            since_version=1,
            inputs=("time",),
            window=1,
            unit="sine" if function == "sin" else "cosine",
            low=-1.0,
            high=1.0,
            formula=f"{function}(2 pi {argument}",
            source="cyclic encoding of the row's time, UTC",
            compute=compute,
        )

    return build("sin", sine), build("cos", cosine)


FEATURES: Final = (
    *_angle("time_of_day", "m / 1440), m minutes since midnight", _time_of_day),
    *_angle("day_of_week", "d / 7), d days since Monday", _day_of_week),
)

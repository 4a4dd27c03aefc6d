"""Where the row's instant lies in the UTC day and week."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature
from marketdata.models import MINUTE_MS

Places: TypeAlias = NDArray[np.int64]

_DAY_MS: Final = 86_400_000
_THURSDAY: Final = 3  # the weekday of 1970-01-01, Monday being 0


_MINUTES: Final = _DAY_MS // MINUTE_MS


def _minute_of_day(columns: Columns) -> Places:
    """Minutes since midnight of each row's instant."""
    return columns.derived("minute_of_day", lambda part: _instants(part) % _MINUTES)


def _weekday(columns: Columns) -> Places:
    """Days since Monday of each row's instant."""
    return columns.derived("weekday", lambda part: (_instants(part) // _MINUTES + _THURSDAY) % 7)


def _instants(columns: Columns) -> Places:
    """Minutes since 1970 of each row's instant."""
    return columns.derived("instants", lambda part: part.time // MINUTE_MS + 1)


def _angle(
    cycle: str, argument: str, place: Callable[[Columns], Places], count: int
) -> tuple[Feature, Feature]:
    """Looked up: there are only ``count`` different ones."""
    phases = math.tau * (np.arange(count) / count)
    sines, cosines = np.sin(phases), np.cos(phases)

    def sine(columns: Columns) -> Floats:
        return np.broadcast_to(sines[place(columns)], columns.close.shape)

    def cosine(columns: Columns) -> Floats:
        return np.broadcast_to(cosines[place(columns)], columns.close.shape)

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
    *_angle("time_of_day", "m / 1440), m minutes since midnight", _minute_of_day, _MINUTES),
    *_angle("day_of_week", "d / 7), d days since Monday", _weekday, 7),
)

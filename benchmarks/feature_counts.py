"""What computing costs by the number of features: a minute of many symbols, and months of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.features.samples import seeded

from marketdata.features import MAX_WINDOW, Columns, compute, engine
from marketdata.features.engine import compute_instant
from marketdata.features.registry import ACTIVE


def by_features(rounds: int, symbols: int, month: int) -> tuple[list[Any], list[Any]]:
    """Milliseconds of a minute of ``symbols`` and of ``month`` minutes, by the number of features."""
    one = [seeded(MAX_WINDOW, seed) for seed in range(1, 9)]
    stacked = Columns.stack([one[i % len(one)] for i in range(symbols)])
    fields = [name for name in Columns.__dataclass_fields__ if not name.startswith("_")]
    live = Columns(
        stacked.time, *(np.asfortranarray(getattr(stacked, name)) for name in fields if name != "time")
    )
    batch = seeded(month)
    minutes: list[Any] = []
    months: list[Any] = []
    try:
        for count in (1, 10, 25, 50, len(ACTIVE)):
            setattr(engine, "ACTIVE", ACTIVE[:count])  # noqa: B010 - it is final for all others
            calls: tuple[tuple[list[Any], Callable[[], Any]], ...] = (
                (minutes, lambda: compute_instant(live)),
                (months, lambda: compute(batch)),
            )
            for points, call in calls:
                taken = []
                for _ in range(rounds + 1):
                    started = time.process_time()
                    call()
                    taken.append(1000 * (time.process_time() - started))
                points.append((count, taken[1:]))
    finally:
        setattr(engine, "ACTIVE", ACTIVE)  # noqa: B010
    return minutes, months

"""The one generator of waiting times: capped, jittered, reset by whoever sees progress."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float = 0.5, cap: float = 30.0, rng: random.Random | None = None) -> Iterator[float]:
    """Yield seconds to wait: doubling from ``first`` up to ``cap``, each between half and all of it."""
    rng = rng or random.Random()
    ceiling = first
    while True:
        yield ceiling * rng.uniform(0.5, 1.0)
        ceiling = min(ceiling * 2, cap)

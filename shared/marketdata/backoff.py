"""The one generator of waiting times: capped, jittered, reset by whoever sees progress."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(
    first: float = 0.5, cap: float = 30.0, *, jitter: float = 0.5, rng: random.Random | None = None
) -> Iterator[float]:
    """Yield seconds to wait: doubling from ``first`` up to ``cap``, up to ``jitter`` of each random."""
    rng = rng or random.Random()
    ceiling = first
    while True:
        yield ceiling * (1 - jitter * rng.random())
        ceiling = min(ceiling * 2, cap)

"""Exponential averages as finite weighted sums.

A recursive average remembers its seed for ever: after 7 lookbacks the seed still weighs 4e-8, and in
prices that stand still its trace is all that is left, so a batch and a live window disagree. Here an
average has a fixed number of weights, as many as it takes until the rest would weigh under 1e-12,
scaled to add up to 1.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from marketdata.features.columns import Floats

SEED_WEIGHT: Final = 1e-12


def warmup(alpha: float) -> int:
    """Minutes until what came before weighs under 1e-12 in an average of smoothing ``alpha``."""
    return math.floor(math.log(SEED_WEIGHT) / math.log1p(-alpha)) + 1


def ema_alpha(period: int) -> float:
    """The smoothing of an exponential moving average of ``period`` minutes."""
    return 2.0 / (period + 1.0)


def wilder_alpha(period: int) -> float:
    """The smoothing of Wilder's average of ``period`` minutes (Wilder 1978)."""
    return 1.0 / period


def average_weights(alpha: float) -> Floats:
    """The weights of an exponential average, newest first; they add up to 1."""
    weights = alpha * (1.0 - alpha) ** np.arange(warmup(alpha), dtype=np.float64)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def distance_weights(alpha: float) -> Floats:
    """The weights that turn one-minute changes into the newest value less its exponential average.

    Summed by parts, so that prices standing still give exactly zero and no large numbers cancel. There
    is one fewer than of the average's: changes, not values.
    """
    tails = np.cumsum(average_weights(alpha)[::-1])[::-1]
    return np.asarray(tails[1:], dtype=np.float64)

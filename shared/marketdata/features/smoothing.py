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
from marketdata.features.fold import State, fold
from marketdata.features.rolling import change

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


def decayed_sum(values: Floats, ratio: float, minutes: int) -> Floats:
    """The sum of ``ratio ** k`` times the value of k minutes ago, over the newest ``minutes``.

    It is without the first ``minutes - 1``, which have none.
    """

    def merge(newer: State, older: State, n: int, _: int, out: State, scratch: State) -> None:
        faded = scratch[0] if out[0] is newer[0] else out[0]
        np.multiply(older[0], ratio**n, out=faded)
        np.add(newer[0], faded, out=out[0])

    (total,) = fold((values,), minutes, merge, scratch=1)
    return total


def average(values: Floats, alpha: float) -> Floats:
    """The exponential average over ``warmup(alpha)`` minutes; its weights add up to 1.

    It is without the first ``warmup(alpha) - 1``, which have none.
    """
    minutes, ratio = warmup(alpha), 1.0 - alpha
    total = decayed_sum(values, ratio, minutes)
    return total * (alpha / (1.0 - ratio**minutes))


def distance(values: Floats, alpha: float) -> Floats:
    """Each value less its exponential average, from one-minute changes.

    The value of k minutes ago enters by the weights of all older minutes: the tails of a geometric series.
    Prices standing still give exactly zero, and no large numbers cancel. It is without the first
    ``warmup(alpha) - 1``, which have none.
    """
    minutes, ratio, n = warmup(alpha), 1.0 - alpha, values.shape[-1]
    left = ratio**minutes
    offset = decayed_sum(change(values), ratio, minutes - 1) * (ratio / (1.0 - left))
    whole = values[..., minutes - 1 :] - values[..., : max(0, n - minutes + 1)]
    whole *= left / (1.0 - left)
    offset -= whole
    return offset

"""Daily paths of seeded data: volatility that clusters and a price that wanders but stays believable."""

from __future__ import annotations

import hashlib
import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# 2017-08-17, Binance's first day of BTCUSDT. Everything counts from here, so the history of a seed
# never depends on when a simulator is started.
ANCHOR_DAY: Final = 17_395
DAYS: Final = 8_192

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


class DailyWalk(NamedTuple):
    """``position[d]`` is the log price at the start of day ``d`` (after the anchor), ``vol[d]`` its sigma."""

    position: Floats
    vol: Floats


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on nothing but ``key``."""
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def ar1(noise: Floats, phi: float) -> Floats:
    """x[t] = phi * x[t-1] + noise[t], from zero: log2(n) doublings of the number of terms summed."""
    x = noise
    step = 1
    while step < x.size and (factor := phi**step) > 1e-18:
        x = x + factor * np.concatenate((np.zeros(step), x[:-step]))
        step *= 2
    return x


def daily_walk(rng: np.random.Generator, sigma: float, pull: float = 0.97) -> DailyWalk:
    """A log price with Student-t steps whose log volatility is AR(1), drawn back by ``1 - pull`` a day.

    The pull keeps the price within some 25 % of its level for a sigma of 2 %.
    """
    steps = rng.standard_t(5, DAYS) / math.sqrt(5 / 3)
    log_vol = np.clip(ar1(rng.standard_normal(DAYS) * 0.11, 0.97), -1.0, 1.0)
    vol = sigma * np.exp(log_vol)
    position = np.concatenate(([0.0], ar1(vol * steps, pull)))
    return DailyWalk(position, vol)


def daily_trades(rng: np.random.Generator, walk: DailyWalk, sigma: float, mean: float) -> Longs:
    """Number of trades of each day, about ``mean``, more on volatile days."""
    tilt = np.power(walk.vol / sigma, 0.7) * np.exp(0.15 * rng.standard_normal(DAYS))
    return np.maximum(1_440, mean * tilt).astype(np.int64)

"""One seeded day: a bridge between two daily prices, with bursts, seasons and heavy tails."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from exchange_simulator.decimals import E8
from exchange_simulator.rows import COLUMNS, DAY_MS, MINUTE_MS, MINUTES_PER_DAY, Table
from exchange_simulator.source.walk import Floats, Longs, ar1
from exchange_simulator.symbols import SymbolSpec

_MINUTES = np.arange(MINUTES_PER_DAY)
_OFFSETS = _MINUTES * MINUTE_MS
# Busiest around 14:00 UTC, a second hump at the Asian open, quiet around 04:00.
_SEASON: Floats = (
    0.75
    + 0.7 * np.exp(-(((_MINUTES - 850) / 170.0) ** 2))
    + 0.3 * np.exp(-(((_MINUTES - 60) / 120.0) ** 2))
    + 0.15 * (np.minimum(_MINUTES % 60, 60 - _MINUTES % 60) < 2)
)


class Bridge(NamedTuple):
    """``path`` (1441 log prices, relative to the day's start) and ``sigma`` of each of 1440 minutes."""

    path: Floats
    sigma: Floats
    burst: Floats


def bridge(rng: np.random.Generator, step: float, daily_sigma: float, burst: Floats | None = None) -> Bridge:
    """A path from 0 to ``step`` whose minute volatility clusters; ``burst`` lends another's clusters."""
    own = ar1(rng.standard_normal(MINUTES_PER_DAY) * 0.09, 0.985)
    log_burst = own if burst is None else 0.7 * burst + 0.5 * own
    sigma = np.sqrt(_SEASON) * np.exp(log_burst)
    sigma *= daily_sigma / math.sqrt(float(np.sum(sigma**2)))
    noise = sigma * rng.standard_t(4, MINUTES_PER_DAY) / math.sqrt(2)
    walked = np.cumsum(noise)
    share = np.cumsum(sigma**2)
    path = np.concatenate(([0.0], walked - share / share[-1] * (walked[-1] - step)))
    return Bridge(path, sigma, log_burst)


def day_table(
    rng: np.random.Generator,
    spec: SymbolSpec,
    day: int,
    log_price: Floats,
    sigma: Floats,
    burst: Floats,
    trades: int,
) -> Table:
    """Candles of ``day`` (days since 1970) from 1441 log prices and the sigma of each minute.

    ``trades`` are shared out over the minutes; a minute that gets none is flat at the last price.
    """
    size = MINUTES_PER_DAY
    tick, lot = spec.tick, spec.lot
    ticks = np.maximum(1, np.rint(np.exp(log_price) * (E8 / tick)).astype(np.int64))
    surprise = np.abs(np.diff(log_price)) / sigma
    activity = _SEASON * np.exp(0.9 * burst + 0.45 * rng.standard_normal(size)) * (0.35 + 0.65 * surprise)
    count = _share_out(np.power(activity, 0.85) * np.exp(0.2 * rng.standard_normal(size)), trades)
    traded = count > 0
    # A minute without trades keeps the last traded price, whatever the hidden path does meanwhile.
    last_traded = np.maximum.accumulate(np.where(traded, np.arange(1, size + 1), 0))
    close = ticks[last_traded]
    before = np.concatenate((ticks[:1], close[:-1]))
    nudge = rng.choice(np.array([-1, 0, 0, 0, 0, 1]), size)
    first = np.maximum(1, np.where(traded, before + nudge, before))
    reach = sigma * ticks[1:]
    single = count == 1
    up = np.where(traded & ~single, np.floor(rng.exponential(0.45, size) * reach), 0).astype(np.int64)
    down = np.where(traded & ~single, np.floor(rng.exponential(0.45, size) * reach), 0).astype(np.int64)
    first = np.where(single, close, first)
    high = np.maximum(first, close) + up
    low = np.maximum(1, np.minimum(first, close) - down)
    volume, quote = _volumes(rng, spec, activity, count, first, high, low, close)
    lean = 0.5 + 0.22 * np.tanh((close - first) / np.maximum(reach, 1)) + 0.08 * rng.standard_normal(size)
    taker = np.floor(volume * np.clip(lean, 0.02, 0.98)).astype(np.int64)
    taker_quote = np.rint(quote * (taker / np.maximum(volume, 1))).astype(np.int64)
    table = np.empty((size, COLUMNS), dtype=np.int64)
    opens = day * DAY_MS + _OFFSETS
    columns = (
        opens, first * tick, high * tick, low * tick, close * tick, volume * lot,
        opens + (MINUTE_MS - 1), quote, count, taker * lot, taker_quote,
    )  # fmt: skip
    for index, column in enumerate(columns):
        table[:, index] = column
    return table


def _share_out(weights: Floats, total: int) -> Longs:
    """Whole numbers in proportion to ``weights`` that add up to ``total``; the last is at least one."""
    edges = np.floor(np.cumsum(weights) * ((total - 1) / float(np.sum(weights))))
    edges[-1] = total - 1
    shares = np.diff(edges, prepend=0.0).astype(np.int64)
    shares[-1] += 1
    return shares


def _volumes(
    rng: np.random.Generator,
    spec: SymbolSpec,
    activity: Floats,
    count: Longs,
    first: Longs,
    high: Longs,
    low: Longs,
    close: Longs,
) -> tuple[Longs, Longs]:
    """Base volume in lots and quote volume in 1e-8; every trade is worth at least one lot."""
    mean_price = np.clip((first + high + low + 2 * close) / 5.0, low, high)
    lot_value = mean_price * (spec.tick * spec.lot / E8)
    wanted = spec.turnover * E8 * activity * np.exp(0.35 * rng.standard_normal(count.size)) / lot_value
    lots = np.where(count > 0, np.maximum(np.rint(wanted), count), 0)
    return lots.astype(np.int64), np.rint(lots * lot_value).astype(np.int64)

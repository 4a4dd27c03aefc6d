"""Market data made from a seed: any minute of any day on demand, always the same."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np

from exchange_simulator.rows import TRADES, Ints, Row, Table, row_of
from exchange_simulator.source.cache import Cache
from exchange_simulator.source.intraday import Bridge, bridge, day_table
from exchange_simulator.source.walk import (
    ANCHOR_DAY,
    DAYS,
    DailyWalk,
    Floats,
    Longs,
    daily_trades,
    daily_walk,
    generator,
)
from exchange_simulator.symbols import SymbolSpec, spec_of

_MARKET_SIGMA = 0.02


class _Life(NamedTuple):
    """All days of one symbol: its own walk, trades of each day and ids at each day's start."""

    spec: SymbolSpec
    walk: DailyWalk
    trades: Longs
    first_ids: Longs


class SeededDay:
    """A full day: every minute has a candle."""

    __slots__ = ("_ids", "_table")

    def __init__(self, table: Table, first_id: int) -> None:
        self._table = table
        self._ids = first_id + np.cumsum(table[:, TRADES]) - table[:, TRADES]

    @property
    def table(self) -> Table:
        """All 1440 rows."""
        return self._table

    def position(self, minute: int) -> int | None:
        """Every minute exists, at its own position."""
        return minute

    def row(self, position: int) -> Row:
        """The candle, eight decimals."""
        return row_of(self.ints(position))

    def ints(self, position: int) -> Ints:
        """The candle as integers."""
        return cast(Ints, self._table[position].tolist())

    def first_trade_id(self, position: int) -> int:
        """Id of the first trade at or after this candle."""
        return int(self._ids[position])


class SeededSource:
    """Candles drawn from ``seed`` for ``symbols``; days outside 2017-08-17 .. 2040 don't exist.

    ``first_day`` (days since 1970) is the oldest day offered. It hides older days but never
    changes newer ones.
    """

    irregular = False

    def __init__(self, seed: int, symbols: tuple[str, ...], first_day: int) -> None:
        self._seed = seed
        self._symbols = symbols
        self._first_day = max(first_day, ANCHOR_DAY)
        self._specs = {symbol: spec_of(symbol) for symbol in symbols}
        self._market = daily_walk(generator(seed, "market"), _MARKET_SIGMA)
        self._lives: dict[str, _Life] = {}
        self._bridges: Cache[int, Bridge] = Cache(512)
        self._days: Cache[tuple[str, int], SeededDay] = Cache(64 + 3 * len(symbols))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments on offer."""
        return self._symbols

    def spec(self, symbol: str) -> SymbolSpec:
        """Properties of an instrument."""
        return self._specs[symbol]

    def first_day(self, symbol: str) -> int:
        """First day on offer."""
        return self._first_day

    def last_day(self, symbol: str) -> int | None:
        """The future has no end."""
        return None

    def day(self, symbol: str, day: int) -> SeededDay | None:
        """The day's 1440 candles."""
        if not self._first_day <= day < ANCHOR_DAY + DAYS:
            return None
        return self._days.get((symbol, day), lambda: self._make_day(symbol, day))

    def archive(self, symbol: str, day: int) -> bytes | None:
        """Nothing was ever published."""
        return None

    def _make_day(self, symbol: str, day: int) -> SeededDay:
        life = self._life(symbol)
        spec, index = life.spec, day - ANCHOR_DAY
        market = self._bridges.get(day, lambda: self._market_day(day))
        rng = generator(self._seed, symbol, day)
        own_step = float(life.walk.position[index + 1] - life.walk.position[index])
        own = bridge(rng, own_step, float(life.walk.vol[index]), market.burst)
        log_price = math.log(spec.level) + spec.beta * (self._market.position[index] + market.path)
        log_price += life.walk.position[index] + own.path
        # Both neighbours must agree on the price at midnight to the last bit.
        log_price[0] = self._price_at(life, index)
        log_price[-1] = self._price_at(life, index + 1)
        sigma: Floats = np.hypot(spec.beta * market.sigma, own.sigma)
        table = day_table(rng, spec, day, log_price, sigma, own.burst, int(life.trades[index]))
        return SeededDay(table, int(life.first_ids[index]))

    def _price_at(self, life: _Life, index: int) -> float:
        market = float(self._market.position[index])
        return math.log(life.spec.level) + life.spec.beta * market + float(life.walk.position[index])

    def _market_day(self, day: int) -> Bridge:
        index = day - ANCHOR_DAY
        step = float(self._market.position[index + 1] - self._market.position[index])
        return bridge(generator(self._seed, "market", day), step, float(self._market.vol[index]))

    def _life(self, symbol: str) -> _Life:
        life = self._lives.get(symbol)
        if life is None:
            spec = self._specs[symbol]
            rng = generator(self._seed, symbol, "daily")
            walk = daily_walk(rng, spec.sigma)
            trades = daily_trades(rng, self._market, _MARKET_SIGMA, spec.trades)
            ids = np.cumsum(trades) - trades + 1
            life = self._lives[symbol] = _Life(spec, walk, trades, ids)
        return life

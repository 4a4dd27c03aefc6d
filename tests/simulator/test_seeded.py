"""Seeded data: reproducible, consistent, and shaped like a market."""

from __future__ import annotations

import numpy as np
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import DAY, MINUTE, START

from exchange_simulator.decimals import E8
from exchange_simulator.rows import CLOSE, HIGH, LOW, OPEN, QUOTE, TAKER, TRADES, VOLUME, Table
from exchange_simulator.source.seeded import SeededSource

TODAY = START // DAY
SYMBOLS = ("BTCUSDT", "ETHUSDT", "THINUSDT")


@pytest.fixture(scope="module")
def month() -> dict[str, Table]:
    source = SeededSource(7, SYMBOLS, TODAY - 30)
    return {symbol: _tables(source, symbol, TODAY - 30, TODAY) for symbol in SYMBOLS}


def _tables(source: SeededSource, symbol: str, first: int, last: int) -> Table:
    days = [source.day(symbol, day) for day in range(first, last)]
    return np.concatenate([day.table for day in days if day is not None])


def test_the_same_seed_gives_the_same_history_from_any_start() -> None:
    today = SeededSource(7, SYMBOLS, TODAY - 395)
    tomorrow = SeededSource(7, SYMBOLS[::-1], TODAY - 394)
    # Asked in another order, and after other days.
    assert tomorrow.day("BTCUSDT", TODAY + 3) is not None
    for symbol in SYMBOLS:
        for day in (TODAY - 300, TODAY - 1, TODAY):
            one, other = today.day(symbol, day), tomorrow.day(symbol, day)
            assert one is not None
            assert other is not None
            assert np.array_equal(one.table, other.table)
            assert one.first_trade_id(700) == other.first_trade_id(700)
    different = SeededSource(8, SYMBOLS, TODAY - 395).day("BTCUSDT", TODAY)
    assert different is not None
    assert not np.array_equal(different.table, today.day("BTCUSDT", TODAY).table)  # type: ignore[union-attr]


async def test_two_simulators_started_apart_agree(simulate: Simulate) -> None:
    async with simulate(start_ms=START) as one, simulate(start_ms=START + DAY + 12_345) as other:
        low, high = START - 600 * MINUTE, START
        assert one.candles("ETHUSDT", low, high) == other.candles("ETHUSDT", low, high)
        assert len(one.candles("ETHUSDT", low, high)) == 600


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_candles_are_consistent(month: dict[str, Table], symbol: str) -> None:
    table = month[symbol]
    assert (table[:, LOW] > 0).all()
    assert (table[:, HIGH] >= np.maximum(table[:, OPEN], table[:, CLOSE])).all()
    assert (table[:, LOW] <= np.minimum(table[:, OPEN], table[:, CLOSE])).all()
    assert (table[:, TAKER] <= table[:, VOLUME]).all()
    traded = table[:, TRADES] > 0
    assert ((table[:, VOLUME] > 0) == traded).all()
    mean = table[traded, QUOTE] / table[traded, VOLUME] * E8
    assert (mean >= table[traded, LOW] * (1 - 1e-9)).all()
    assert (mean <= table[traded, HIGH] * (1 + 1e-9)).all()
    # The open is the previous close, give or take one price step, midnight included.
    spec = SeededSource(7, SYMBOLS, TODAY).spec(symbol)
    assert (np.abs(table[1:, OPEN] - table[:-1, CLOSE])[table[1:, TRADES] > 1] <= spec.tick).all()
    assert (table[:, [OPEN, HIGH, LOW, CLOSE]] % spec.tick == 0).all()
    assert (table[:, VOLUME] % spec.lot == 0).all()


def test_trade_ids_run_on_over_midnight() -> None:
    source = SeededSource(7, ("BTCUSDT",), TODAY - 1)
    first, second = source.day("BTCUSDT", TODAY - 1), source.day("BTCUSDT", TODAY)
    assert first is not None
    assert second is not None
    assert second.first_trade_id(0) == first.first_trade_id(1439) + first.ints(1439)[TRADES]


def test_volatility_clusters_and_tails_are_heavy(month: dict[str, Table]) -> None:
    returns = np.diff(np.log(month["BTCUSDT"][:, CLOSE]))
    size = np.abs(returns)

    def echo(lag: int) -> float:
        return float(np.corrcoef(size[:-lag], size[lag:])[0, 1])

    assert echo(1) > 0.1
    assert echo(60) > 0.05
    assert abs(np.corrcoef(returns[:-1], returns[1:])[0, 1]) < 0.1
    assert np.mean(((returns - returns.mean()) / returns.std()) ** 4) > 5


def test_volume_direction_and_symbols_hang_together(month: dict[str, Table]) -> None:
    btc, eth = month["BTCUSDT"], month["ETHUSDT"]
    returns = np.diff(np.log(btc[:, CLOSE]))
    assert np.corrcoef(btc[1:, VOLUME], np.abs(returns))[0, 1] > 0.2
    assert np.corrcoef(btc[1:, TAKER] / btc[1:, VOLUME], returns)[0, 1] > 0.2
    assert np.corrcoef(returns, np.diff(np.log(eth[:, CLOSE])))[0, 1] > 0.5


@pytest.mark.parametrize("seed", range(6))
def test_bitcoin_stays_at_believable_prices(seed: int) -> None:
    source = SeededSource(seed, ("BTCUSDT",), TODAY - 395)
    closes = [source.day("BTCUSDT", day).ints(720)[CLOSE] / E8 for day in range(TODAY - 395, TODAY, 13)]  # type: ignore[union-attr]
    assert min(closes) > 40_000
    assert max(closes) < 140_000

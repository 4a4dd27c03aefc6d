"""Every instrument has one shard, the same everywhere, and keeps it as far as that is possible."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marketdata import settings
from marketdata.errors import ConfigurationError
from marketdata.shards import SHARDS_MOST, WHOLE, Shard, shard_of

NAMES = st.text(st.characters(categories=("Lu", "Lo", "Nd")), min_size=2, max_size=30)
MANY = [f"{first}{second}{quote}" for first in ("BTC", "ETH", "A2Z", "1000", "币安")
        for second in range(100) for quote in ("USDT", "USDC", "TRY")]  # fmt: skip
"""1,500 names, some of them not ASCII, as some listed ones are."""
_COINS = "BTC ETH SOL XRP BNB DOGE ADA TRX AVAX LINK SUI PEPE LTC DOT UNI NEAR SHIB ARB FIL USDC"
BUSIEST = [f"{coin}USDT" for coin in _COINS.split()]


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.lists(NAMES, unique=True, max_size=30), st.integers(1, SHARDS_MOST))
def test_every_symbol_is_in_exactly_one_shard(symbols: list[str], of: int) -> None:
    parts = [Shard(number, of).part(symbols) for number in range(1, of + 1)]
    assert sorted(symbol for part in parts for symbol in part) == sorted(symbols)


@hypothesis_settings(deadline=None)
@given(NAMES, st.integers(1, SHARDS_MOST - 1))
def test_another_shard_takes_names_and_moves_no_other(symbol: str, of: int) -> None:
    assert shard_of(symbol, of + 1) in (shard_of(symbol, of), of + 1)


def test_the_assignment_is_the_same_everywhere_and_for_ever() -> None:
    """A machine that disagrees captures twice, or not at all: these never change."""
    assert [shard_of("BTCUSDT", of) for of in range(1, 9)] == [1, 2, 2, 2, 2, 2, 2, 2]
    assert [shard_of("币安USDT", of) for of in range(1, 9)] == [1, 2, 2, 4, 4, 4, 4, 4]
    script = "from marketdata.shards import shard_of; print([shard_of('ETHUSDT', n) for n in range(1, 9)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True,
            env={"PYTHONPATH": str(Path(settings.__file__).parents[1]), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert said == {f"{[shard_of('ETHUSDT', n) for n in range(1, 9)]}\n"}


@pytest.mark.parametrize("of", [2, 3, 4, 8, 16])
def test_shards_are_nearly_even_and_one_more_moves_its_share(of: int) -> None:
    sizes = Counter(shard_of(symbol, of) for symbol in MANY)
    mean = len(MANY) / of
    # Three and a half standard deviations of as many draws.
    assert all(abs(sizes[number] - mean) <= 3.5 * mean**0.5 for number in range(1, of + 1)), sizes
    moved = sum(shard_of(symbol, of) != shard_of(symbol, of + 1) for symbol in MANY)
    share = len(MANY) / (of + 1)
    assert abs(moved - share) <= 3.5 * share**0.5, "what moves is what the new shard takes"


def test_the_busiest_names_are_spread() -> None:
    for of in range(2, 9):
        sizes = Counter(shard_of(symbol, of) for symbol in BUSIEST)
        assert max(sizes.values()) <= len(BUSIEST) / of + 2.5, (of, sizes)


@pytest.mark.parametrize(
    "text",
    [
        "0/2",
        "3/2",
        "1/0",
        "x",
        "1/2/3",
        "1 / 2",
        "-1/2",
        "1/",
        "/2",
        "2",
        "1/65",
        "1/1000",
        "1.0/2",
        "\uff11/2",
    ],
)
def test_a_malformed_shard_is_named_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings.load({"SHARD": text})
    (problem,) = caught.value.problems
    assert problem.startswith("SHARD must be i/n")
    assert repr(text) in problem


def test_a_feeder_captures_its_shards_part_in_the_order_of_symbols() -> None:
    assert settings.load({}).shard == WHOLE
    everything = ",".join(BUSIEST)
    assert settings.load({"SYMBOLS": everything}).captured == tuple(BUSIEST)
    one, two = (settings.load({"SYMBOLS": everything, "SHARD": text}) for text in ("1/2", "2/2"))
    assert one.symbols == two.symbols == tuple(BUSIEST)
    assert set(one.captured) | set(two.captured) == set(BUSIEST)
    assert list(one.captured) == [symbol for symbol in BUSIEST if shard_of(symbol, 2) == 1]


@pytest.mark.parametrize("text", ["a,", "a,,b", "timescaledb,b", "a,a", "a b"])
def test_malformed_lists_of_database_hosts_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="DB_HOST"):
        settings.load({"DB_HOST": text})
    assert settings.load({"DB_HOST": "db1.example, db2.example"}).database.host == "db1.example,db2.example"

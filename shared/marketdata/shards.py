"""Which of n feeders captures an instrument: a pure function of its name and n. Standard library alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

SHARDS_MOST: Final = 64
_DEAL: Final = 2876
"""Of 4,000 shuffles of the names, the one that spreads the twenty busiest most evenly over 2 to 8 shards."""


class Shard(NamedTuple):
    """Feeder ``number`` (from 1) of ``of``."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, symbol: str) -> bool:
        """Whether this shard answers for an instrument, captured or not."""
        return self.of == 1 or shard_of(symbol, self.of) == self.number

    def part(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """The instruments among ``symbols`` that this shard answers for, in their order."""
        return tuple(symbol for symbol in symbols if self.has(symbol))


WHOLE: Final = Shard(1, 1)


def shard_of(symbol: str, count: int) -> int:
    """Return the shard (1 to ``count``) of an instrument.

    Rendezvous hashing (Thaler and Ravishankar, 1998): each shard draws a number from the name and its own
    number, and the highest has it. So one more shard takes 1/(n+1) of the names from the others, and moves
    no other name. The draw is SHA-256: the same on every machine and in every version.
    """
    return max(range(1, count + 1), key=lambda number: (_draw(symbol, number), number))


def _draw(symbol: str, number: int) -> bytes:
    return hashlib.sha256(f"{_DEAL}/{number}/{symbol}".encode()).digest()


def parse(text: str) -> Shard:
    """Return the shard that ``i/n`` names. Raises ``ValueError`` with the rule."""
    found = re.fullmatch(r"([0-9]{1,3})/([0-9]{1,3})", text)
    if found is None:
        raise ValueError("must be i/n, such as 1/2 and 2/2 for the two feeders of one database")
    shard = Shard(int(found[1]), int(found[2]))
    if not 1 <= shard.of <= SHARDS_MOST:
        raise ValueError(f"must be i/n with an n from 1 to {SHARDS_MOST}")
    if not 1 <= shard.number <= shard.of:
        raise ValueError(f"must be i/n with an i from 1 to n, here 1/{shard.of} to {shard.of}/{shard.of}")
    return shard

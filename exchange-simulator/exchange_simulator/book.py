"""Best bid and ask around the newest price: what `bookTicker` shows on both channels."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from exchange_simulator.decimals import E8, text
from exchange_simulator.intrabar import mix
from exchange_simulator.symbols import SymbolSpec

_EPOCH_MS = 1_500_000_000_000
_SIZES = 64


class Top(NamedTuple):
    """Top of the book: ``update`` its growing id, prices in 1e-8, sizes as spelled."""

    update: int
    bid: int
    bid_size: str
    ask: int
    ask_size: str


def top_of_book(spec: SymbolSpec, sizes: list[str], price: int, at_ms: int) -> Top:
    """The book at ``at_ms`` around ``price`` (1e-8). Deterministic; ids grow with time.

    ``sizes`` are :func:`order_sizes` of ``spec``.
    """
    h = ((at_ms ^ spec.salt) * 0x9E3779B1) & 0xFFFFFFFF
    tick = spec.tick
    spread = tick
    if spec.turnover < 20_000:
        # Liquid books are one tick wide; the spread of the others is a few parts in 10,000.
        spread += tick * ((h >> 8) % (price // (tick * 20_000) + 1))
    bid = price - spread if h & 0x80000000 and price > spread else price
    return Top((at_ms - _EPOCH_MS) // 4, bid, sizes[h >> 14 & 63], bid + spread, sizes[h >> 20 & 63])


@cache
def order_sizes(spec: SymbolSpec) -> list[str]:
    """Order sizes of about a tenth of a minute's volume."""
    lots = max(4, int(spec.turnover * E8 / (spec.level * spec.lot)) >> 3)
    return [text((1 + mix(spec.salt, number) % lots) * spec.lot) for number in range(_SIZES)]

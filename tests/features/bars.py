"""Candles as tuples, to lay a few of them out by hand and to read them back one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tests.features.samples import START, columns

from marketdata.features import NAMES, Columns, compute
from marketdata.models import MINUTE_MS


class Bar(NamedTuple):
    """A candle; it trades 1 at 100 unless told."""

    open: float
    high: float
    low: float
    close: float
    volume: float = 1.0
    quote_volume: float = 100.0


def still(price: float, n: int) -> list[Bar]:
    """``n`` candles at one price."""
    return [Bar(price, price, price, price)] * n


def closes(prices: Sequence[float]) -> list[Bar]:
    """Candles that are all close."""
    return [Bar(*4 * (price,)) for price in prices]


def laid(bars: Sequence[Bar]) -> Columns:
    """Bars as minutes; no trades and no taker, which no feature here reads."""
    zero = [0.0, 0.0, 0.0]
    return columns(np.array([[START + MINUTE_MS * i, *bar, *zero] for i, bar in enumerate(bars)]))


def bars_of(minutes: Columns) -> list[Bar]:
    """Minutes as candles."""
    names = ("open", "high", "low", "close", "volume", "quote_volume")
    return [Bar(*map(float, values)) for values in zip(*(getattr(minutes, n) for n in names), strict=True)]


def last(name: str, minutes: Columns) -> float:
    """A feature's newest value."""
    return float(compute(minutes, last=1).values[0, NAMES.index(name)])

"""The candle as the exchange publishes it: decimal strings on the way out, 1e-8 integers for sums."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exchange_simulator.decimals import text

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
MINUTES_PER_DAY: Final = 1_440

# Columns of a table, in the order of a REST row. Times in ms, `n` a count, the rest in 1e-8.
OPEN_TIME, OPEN, HIGH, LOW, CLOSE, VOLUME, CLOSE_TIME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(11)
COLUMNS: Final = 11

Table = NDArray[np.int64]
"""Shape (rows, 11): REST's columns without the ignored last one, prices and sums in units of 1e-8."""

Ints = list[int]
"""One line of a table as Python integers."""


class Row(NamedTuple):
    """One kline in the order of a REST row; times in Unix ms, numbers as the exchange spells them."""

    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote: str
    trades: int
    taker: str
    taker_quote: str


def row_of(ints: Ints) -> Row:
    """Spell a line of integers with eight decimals."""
    t, o, h, low, c, v, end, q, n, tb, tq = ints
    return Row(t, text(o), text(h), text(low), text(c), text(v), end, text(q), n, text(tb), text(tq))


def empty_table() -> Table:
    """A table without rows."""
    return np.empty((0, COLUMNS), dtype=np.int64)

"""Minutes to compute features from: seeded ones, and the recorded archive."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from marketdata.features.columns import Columns, Floats
from marketdata.models import MINUTE_MS

START = 1_678_665_600_000  # 2023-03-13 00:00 UTC, a Monday
OUTAGE = (1_679_661_600_000, 1_679_666_400_000)  # 2023-03-24 12:40 to 14:00
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def rows(n: int, seed: int = 1, price: float = 28_000.0, tick: float = 0.01) -> Floats:
    """Rows in the order of CANDLE_ROW: a random walk, with minutes in which nothing trades."""
    draw = np.random.default_rng(seed).random((9, n))
    close = price * np.exp(np.cumsum((draw[0] - 0.5) * 2e-3))
    quiet = draw[1] < 0.1
    close = _hold(np.round(close / tick) * tick, quiet)
    opened = np.concatenate(([close[0]], close[:-1]))
    reach = np.where(quiet, 0.0, 1e-3)
    high = np.maximum(opened, close) * (1.0 + draw[2] * reach)
    low = np.minimum(opened, close) * (1.0 - draw[3] * reach)
    volume = np.where(quiet, 0.0, 50.0 * draw[4] / (1.0 - draw[4] + 1e-3))
    quote = volume * (low + (high - low) * draw[5])
    trades = np.where(quiet, 0.0, 1.0 + np.floor(volume * 20.0))
    time = START + MINUTE_MS * np.arange(n)
    taken = draw[6]
    return np.column_stack(
        (time, opened, high, low, close, volume, quote, trades, volume * taken, quote * taken)
    )


def book_rows(n: int, seed: int = 2) -> Floats:
    """Rows in the order of BOOK_ROW for the first ``n`` minutes."""
    draw = np.random.default_rng(seed).random((2, n))
    return np.column_stack((START + MINUTE_MS * np.arange(n), draw[0], 2.0 * draw[1] - 1.0))


def columns(table: Floats, reference: Floats | None = None) -> Columns:
    """Rows that start at START, with a book, beside a reference of rows of its own, as columns."""
    end = int(table[-1, 0]) + MINUTE_MS
    n = (end - START) // MINUTE_MS
    own = Columns.from_rows(START, end, table, books=book_rows(n))
    return own.beside(Columns.from_rows(START, end, rows(n, seed=31) if reference is None else reference))


def seeded(n: int, seed: int = 1, price: float = 28_000.0, tick: float = 0.01) -> Columns:
    """``n`` minutes of seeded candles and books."""
    return columns(rows(n, seed, price, tick))


def constant(n: int, volume: float = 0.0) -> Columns:
    """``n`` minutes at one price."""
    table = np.tile([0.0, 7.0, 7.0, 7.0, 7.0, volume, 7.0 * volume, volume, volume, 7.0 * volume], (n, 1))
    table[:, 0] = START + MINUTE_MS * np.arange(n)
    return columns(table)


def recorded(folder: Path, symbol: str) -> Columns:
    """28 days of the exchange's own archive, with an outage of 80 minutes."""
    days = sorted((folder / "spot_daily_zips" / "1m").glob(f"{symbol}-1m-*.zip"))
    table = np.concatenate([_day(path) for path in days])
    start, end = int(table[0, 0]), int(table[-1, 0]) + MINUTE_MS
    own = Columns.from_rows(start, end, table, outages=[OUTAGE])
    return own.beside(own if symbol == SYMBOLS[0] else recorded(folder, SYMBOLS[0]))


def from_prices(high: Floats, low: Floats, close: Floats) -> Columns:
    """Bars of any length as if they were minutes, for indicators that see only prices."""
    n = len(close)
    one = np.ones(n)
    time = START + MINUTE_MS * np.arange(n)
    return columns(np.column_stack((time, close, high, low, close, one, close, one, one, close)))


def _day(path: Path) -> Floats:
    with zipfile.ZipFile(path) as archive:
        content = archive.read(archive.namelist()[0])
    return np.loadtxt(io.BytesIO(content), delimiter=",", usecols=(0, 1, 2, 3, 4, 5, 7, 8, 9, 10))


def _hold(values: Floats, held: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    """Each held value replaced by the last one that is not."""
    place = np.maximum.accumulate(np.where(held, 0, np.arange(len(values))))
    return np.asarray(values[place])


def gappy(n: int, seed: int = 1, price: float = 28_000.0, tick: float = 0.01) -> Floats:
    """``rows`` whose candles open off the close before, as they do after a halt or where ticks are coarse."""
    table = rows(n, seed, price, tick)
    draw = np.random.default_rng([seed, 1]).random(n)
    opened = np.maximum(np.round(table[:, 1] * (1.0 + 2e-3 * (draw - 0.5)) / tick), 1.0) * tick
    table[:, 1] = np.where(table[:, 7] > 0.0, opened, table[:, 1])
    table[:, 2], table[:, 3] = np.maximum(table[:, 2], table[:, 1]), np.minimum(table[:, 3], table[:, 1])
    return table

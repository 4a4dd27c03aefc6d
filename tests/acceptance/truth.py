"""What the exchange itself published of the recorded days, and how the database is held against it."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from marketdata.database import Connection
from marketdata.features.engine import compute
from marketdata.features.registry import MAX_WINDOW, NAMES
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Candle
from marketdata.store import features

Key = tuple[str, int]


def archived(real_data: Path, symbols: Sequence[str], days: Sequence[str]) -> dict[Key, Candle]:
    """Read the exchange's own files, by a reader that shares nothing with the suite's."""
    rows: dict[Key, Candle] = {}
    for symbol in symbols:
        for day in days:
            path = real_data / "spot_daily_zips" / "1m" / f"{symbol}-1m-{day}.zip"
            with zipfile.ZipFile(path) as archive:
                text = archive.read(archive.namelist()[0]).decode()
            for r in csv.reader(io.StringIO(text)):
                rows[symbol, int(r[0])] = Candle(
                    symbol, int(r[0]), float(r[1]), float(r[2]), float(r[3]), float(r[4]), float(r[5]),
                    float(r[7]), int(r[8]), float(r[9]), float(r[10]),
                )  # fmt: skip
    return rows


async def stored(connection: Connection) -> dict[Key, Candle]:
    """Return every candle of the database."""
    records = await connection.fetch(
        "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,"
        " taker_buy_quote_volume FROM candles_1m"
    )
    return {(r["symbol"], r["time"]): Candle(*r) for r in records}


def runs(minutes: Iterable[int]) -> list[tuple[int, int]]:
    """Return minutes (Unix ms) as half-open ranges, sorted."""
    found: list[tuple[int, int]] = []
    for minute in sorted(minutes):
        if found and found[-1][1] == minute:
            found[-1] = found[-1][0], minute + MINUTE_MS
        else:
            found.append((minute, minute + MINUTE_MS))
    return found


async def assert_features_equal_batch(
    connection: Connection, symbols: Sequence[str], first: int, end: int
) -> float:
    """Every stored candle has its feature row, equal to what one batch over all candles gives.

    Returns the greatest difference of any value.
    """
    greatest = 0.0
    for symbol in symbols:
        window = await features.load_window(connection, symbol, first - MAX_WINDOW * MINUTE_MS, end)
        batch = compute(window)
        records = await connection.fetch(
            "SELECT time, values, window_coverage, known_at FROM feature_values WHERE symbol = $1"
            " ORDER BY time",
            symbol,
        )
        times, wanted = [r["time"] for r in records], batch.time[batch.emit].tolist()
        assert times == wanted, (
            f"{symbol}: feature rows missing at {spans(set(wanted) - set(times))},"
            f" too many at {spans(set(times) - set(wanted))}"
        )
        live = np.array([[np.nan if v is None else v for v in r["values"]] for r in records])
        right = batch.values[batch.emit]
        unlike = (np.isnan(live) != np.isnan(right)) | (np.abs(live - right) > 1e-9)
        if unlike.any():
            rows = np.flatnonzero(unlike.any(axis=1))
            known = {isoformat(records[n]["known_at"]) for n in rows}
            worst = int(np.argmax(unlike.sum(axis=0)))
            raise AssertionError(
                f"{symbol}: {len(rows)} feature rows are not the batch's, at {spans(times[n] for n in rows)},"
                f" computed when the market was at {sorted(known)[:20]};"
                f" most of all {NAMES[worst]}: {live[rows[:4], worst]}, right {right[rows[:4], worst]};"
                f" {[name for name, bad in zip(NAMES, unlike.any(axis=0), strict=True) if bad]}"
            )
        greatest = max(greatest, float(np.nanmax(np.abs(live - right), initial=0.0)))
        coverage = np.array([r["window_coverage"] for r in records])
        np.testing.assert_allclose(coverage, batch.window_coverage[batch.emit], rtol=0, atol=1e-9)
    return greatest


def spans(minutes: Iterable[int]) -> str:
    """Return minutes (Unix ms) as ranges to be read, the first ten."""
    found = runs(minutes)
    said = ", ".join(f"{isoformat(a)} to {isoformat(b)}" for a, b in found[:10])
    return f"{len(found)} ranges: {said}" if found else "none"

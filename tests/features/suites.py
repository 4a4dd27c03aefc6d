"""What independent suites make of the same bars, and how ours is held against it."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tests.features.samples import START, columns

from marketdata.features import NAMES, Columns, compute
from marketdata.features.columns import Floats
from marketdata.models import MINUTE_MS

SETTLED = 900  # minutes until a recursive average has forgotten its seed


def features(minutes: Columns) -> dict[str, Floats]:
    """Each feature's values by name."""
    return dict(zip(NAMES, compute(minutes).values.T, strict=True))


def assert_agree(ours: Floats, theirs: object, first: int = SETTLED, tolerance: float = 1e-9) -> None:
    """Wherever ours is defined, which is nearly everywhere, theirs is the same."""
    actual, expected = ours[first:], np.asarray(theirs, dtype=np.float64)[first:]
    known = ~np.isnan(actual)
    assert known.mean() > 0.9
    np.testing.assert_allclose(actual[known], expected[known], rtol=0, atol=tolerance)


def listed(values: Iterable[object], part: str | None = None) -> Floats:
    """What talipp returns, a list with None before the warm-up, or a part of each of its records."""
    found = [value if part is None else getattr(value, part, None) for value in values]
    return np.array([np.nan if value is None else value for value in found], dtype=np.float64)


def from_bars(high: Floats, low: Floats, close: Floats, volume: Floats) -> Columns:
    """Bars of any length as if they were minutes."""
    n = len(close)
    time = START + MINUTE_MS * np.arange(n)
    table = (time, close, high, low, close, volume, volume * close, np.ones(n), volume, volume * close)
    return columns(np.column_stack(table))


def library_table(folder: Path, name: str) -> dict[str, Floats]:
    """Recorded candles and what TA-Lib made of them, by column."""
    with gzip.open(folder / "indicators" / "talib" / f"{name}.csv.gz", "rt") as file:
        return _table(list(csv.DictReader(file)))


def skender_bars(folder: Path) -> dict[str, Floats]:
    """The daily bars that Stock.Indicators (C#) tests itself with."""
    with (folder / "indicators" / "skender" / "default.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    return _table([{key: row[key] for key in ("high", "low", "close", "volume")} for row in rows])


def skender_results(folder: Path, indicator: str, key: str) -> Floats:
    """What it expects of itself."""
    path = folder / "indicators" / "skender" / "results" / f"{indicator}.standard.json"
    records = json.loads(path.read_text("utf-8-sig"))
    return np.array([np.nan if record.get(key) is None else float(record[key]) for record in records])


def published(folder: Path, name: str) -> dict[str, Floats]:
    """A worked spreadsheet of a charting site, its numbers by column."""
    path = folder / "indicators" / "stockcharts" / f"cs-{name}.csv"
    with path.open(encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["Close"]]
    numbers = [key for key in rows[0] if key and key not in ("Date", "Microsoft Date")]
    return _table([{key: row[key] for key in numbers} for row in rows])


def _table(rows: list[dict[str, str]]) -> dict[str, Floats]:
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}

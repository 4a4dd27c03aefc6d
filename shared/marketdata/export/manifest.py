"""What stands beside the file: how it was made, what is in it and what is not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from marketdata import __version__
from marketdata.export.request import Request
from marketdata.export.rows import Rows
from marketdata.features.registry import FEATURE_VERSION, MAX_WINDOW, NAMES, REGISTRY
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS

STATUSES: Final = ("stream", "rest", "archive", "no-trade", "outage", "missing")


def path_of(output: Path) -> Path:
    """Where the manifest of ``output`` is."""
    return output.with_name(output.name + ".manifest.json")


def formulas() -> str:
    """A digest of what every feature is: equal where two programs compute the same ones."""
    said = [(f.name, f.since_version, f.retired_version, f.window, f.formula, f.inputs) for f in REGISTRY]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()


@dataclass(slots=True)
class Seen:
    """What was written of one symbol."""

    rows: int = 0
    first: int | None = None
    last: int | None = None
    coverage_sum: float = 0.0
    coverage_least: float | None = None
    below: int = 0

    def take(self, time: Any, coverage: Any) -> None:
        """Take note of more rows, in order."""
        if not len(time):
            return
        self.rows += len(time)
        self.first = int(time[0]) if self.first is None else self.first
        self.last = int(time[-1])
        self.coverage_sum += float(coverage.sum())
        least = float(coverage.min())
        self.coverage_least = least if self.coverage_least is None else min(least, self.coverage_least)
        self.below += int(np.count_nonzero(coverage < 1.0))

    def summary(self, minutes: Mapping[str, int]) -> dict[str, Any]:
        """As the manifest says it."""
        return {
            "rows": self.rows,
            "first_time": None if self.first is None else isoformat(self.first),
            "last_time": None if self.last is None else isoformat(self.last),
            "window_coverage": {
                "mean": self.coverage_sum / self.rows if self.rows else None,
                "min": self.coverage_least,
                "rows_below_1": self.below,
            },
            "minutes": {status: minutes.get(status, 0) for status in STATUSES},
        }


class Tally:
    """What was written, by symbol."""

    def __init__(self, request: Request) -> None:
        self.of = [Seen() for _ in request.symbols]

    @property
    def rows(self) -> int:
        """All rows written."""
        return sum(seen.rows for seen in self.of)

    def take(self, rows: Rows) -> None:
        """Take note of rows that were written."""
        for place, seen in enumerate(self.of):
            own = rows.symbol == place
            seen.take(rows.time[own], rows.coverage[own])


def digest(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class File(NamedTuple):
    """A finished file."""

    name: str
    kind: str
    size: int
    sha256: str
    made: datetime


def compose(file: File, request: Request, tally: Tally, minutes: Mapping[str, Mapping[str, int]]) -> bytes:
    """Return the manifest; ``minutes`` is candle_coverage's of each symbol, in minutes by status."""
    chosen = [REGISTRY[NAMES.index(feature)] for feature in request.features]
    content = {
        "file": file.name,
        "format": file.kind,
        "size": file.size,
        "sha256": file.sha256,
        "created_at": isoformat(int(file.made.timestamp()) * 1000),
        "marketdata_version": __version__,
        "rows": tally.rows,
        "arguments": {
            "symbols": request.symbols,
            "from": isoformat(request.start),
            "to": isoformat(request.end),
            "as_known_seconds": None if request.as_known_ms is None else request.as_known_ms / 1000,
            "features": request.features,
            "labels": [label.text for label in request.labels],
        },
        "candles": {
            "from": isoformat(request.start - MINUTE_MS),
            "to": isoformat(request.end - MINUTE_MS),
        },
        "feature_version": FEATURE_VERSION,
        "formulas_sha256": formulas(),
        "coverage_window": MAX_WINDOW,
        "features": [
            {
                "name": f.name, "group": f.group, "since_version": f.since_version, "window": f.window,
                "unit": f.unit, "formula": f.formula,
            }
            for f in chosen
        ],
        "labels": [
            {
                "label": label.text, "columns": label.names, "horizon_minutes": label.horizon,
                "definition": label.definition,
            }
            for label in request.labels
        ],
        "symbols": {
            symbol: seen.summary(minutes[symbol])
            for symbol, seen in zip(request.symbols, tally.of, strict=True)
        },
    }  # fmt: skip
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

"""What features cost: ``python -m benchmarks.features [batch|live|lookup] [--json FILE]``.

batch: four weeks of one symbol, each column alone and the whole set, against other libraries' calls for the
columns they share with us. live: a minute of 500 symbols, from the last frame to the last committed row,
against a bare COPY of the same arrays. lookup: reading a row and a day, against a bare primary-key select.
Rounds alternate within one run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop
from tests.features.samples import SYMBOLS, recorded, seeded

from marketdata.features import REGISTRY, Columns, compute
from marketdata.features.feature import Feature

MINUTES: Final = 28 * 1440
ROUNDS: Final = 7
RECORDED: Final = Path(__file__).resolve().parents[2] / "shared" / "data"


def machine() -> str:
    """What the figures were measured on, and what else it did."""
    load = os.getloadavg()[0]
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"
    )


def minutes() -> tuple[str, Columns]:
    """Four weeks of one symbol: recorded ones where they are, else seeded; the book is seeded."""
    made = seeded(MINUTES)
    if not RECORDED.is_dir():
        return "seeded", made
    real = recorded(RECORDED, SYMBOLS[1]).part(0, MINUTES)
    return "recorded", Columns(
        *(getattr(made if name in ("spread_bps", "imbalance") else real, name) for name in _fields())
    )


def _fields() -> list[str]:
    return [name for name in Columns.__dataclass_fields__ if not name.startswith("_")]


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def alone(feature: Feature, columns: Columns) -> None:
    """Compute one column of all minutes, nothing shared with others."""
    with np.errstate(all="ignore"):
        feature.compute(columns.part(0, len(columns)))


def batch() -> dict[str, Any]:
    """Each column alone, and the whole set, against each library's calls."""
    from benchmarks.feature_peers import SHARED, frame

    warnings.simplefilter("ignore")
    kind, columns = minutes()
    theirs = frame(columns)
    ours: dict[str, list[float]] = {feature.name: [] for feature in REGISTRY}
    shared = [one._replace(names=tuple(n for n in one.names if n in ours)) for one in SHARED]
    shared = [one for one in shared if one.names]
    peers: dict[str, dict[str, list[float]]] = {"ta": {}, "pandas_ta": {}}
    whole = []
    for n in range(ROUNDS + 1):
        took = {f.name: seconds(lambda f=f: alone(f, columns)) for f in REGISTRY}
        set_took = seconds(lambda: compute(columns))
        if n:  # the first round only warms up
            for name, value in took.items():
                ours[name].append(value)
            whole.append(set_took)
        for library, times in peers.items():
            for one in shared:
                call = getattr(one, library)
                if call is None:
                    continue
                value = seconds(lambda call=call: call(theirs)) / len(one.names)
                for name in one.names if n else ():
                    times.setdefault(name, []).append(value)
        print(f"round {n} of {ROUNDS}", file=sys.stderr)
    return {
        "machine": machine(),
        "minutes": f"{MINUTES} {kind}",
        "peers": {"ta": version("ta"), "pandas_ta": version("pandas-ta-classic") + ", its own code"},
        "whole_set_ms": figures([1000 * value for value in whole]),
        "columns": len(REGISTRY),
        **{f"against_{library}": _compare(ours, times, whole) for library, times in peers.items()},
        "ours_ms": {name: round(1000 * statistics.median(times), 3) for name, times in ours.items()},
    }


def _compare(
    ours: dict[str, list[float]], theirs: dict[str, list[float]], whole: list[float]
) -> dict[str, Any]:
    """Ratios of one library's times to ours; the spread is over the rounds."""
    columns = {
        name: statistics.median(t / o for t, o in zip(times, ours[name], strict=True))
        for name, times in theirs.items()
    }
    their_sums = [sum(times[n] for times in theirs.values()) for n in range(ROUNDS)]
    our_sums = [sum(ours[name][n] for name in theirs) for n in range(ROUNDS)]
    return {
        "shared_columns": len(columns),
        "ratio_of_sums": figures([t / o for t, o in zip(their_sums, our_sums, strict=True)]),
        "their_sum_to_our_whole_set": figures([t / o for t, o in zip(their_sums, whole, strict=True)]),
        "median_of_column_ratios": round(statistics.median(columns.values()), 1),
        "columns_at_10_or_more": sum(ratio >= 10 for ratio in columns.values()),
        "column_ratios": {n: round(r, 1) for n, r in sorted(columns.items(), key=lambda item: item[1])},
        "their_ms": {name: round(1000 * statistics.median(times), 3) for name, times in theirs.items()},
    }


def figures(values: list[float]) -> dict[str, float]:
    """Median and spread."""
    return {
        "median": round(statistics.median(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }


def main() -> None:
    """Measure what is asked for, or all three."""
    from benchmarks import feature_rows

    parser = argparse.ArgumentParser(prog="python -m benchmarks.features")
    parser.add_argument("what", nargs="?", choices=("batch", "live", "lookup"), help="default: all three")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    parts: dict[str, Callable[[], Any]] = {
        "batch": batch,
        "live": lambda: uvloop.run(feature_rows.live()),
        "lookup": lambda: uvloop.run(feature_rows.lookup()),
    }
    measured = {name: part() for name, part in parts.items() if options.what in (None, name)}
    text = json.dumps(measured, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

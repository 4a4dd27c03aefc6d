"""What features cost: ``python -m benchmarks.features [batch|live|lookup]``.

batch: four weeks of one symbol, the columns of each call of other libraries, each alone, and the whole set,
against those calls. live: a minute of 500 symbols, from the last frame to the last committed row,
against a bare COPY of the same arrays. lookup: reading a row and a day, against a bare primary-key select.
Rounds alternate within one run.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import uvloop
from tests.features.samples import SYMBOLS, recorded, seeded

from benchmarks import feature_rows
from benchmarks.harness import Options, Report, Result, Target, figures
from benchmarks.report import main
from marketdata.features import REGISTRY, Columns, compute
from marketdata.features.feature import Feature

MINUTES: Final = 28 * 1440
ROUNDS: Final = 7
PARTS: Final = ("batch", "live", "lookup")
RECORDED: Final = Path(__file__).resolve().parents[2] / "shared" / "data"


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


def together(features: Sequence[Feature], columns: Columns) -> None:
    """Compute columns of all minutes; what they share is computed once, and afresh."""
    fresh = columns.part(0, len(columns))
    with np.errstate(all="ignore"):
        for feature in features:
            feature.compute(fresh)


class _Batch(NamedTuple):
    """What the rounds took, in seconds."""

    minutes: str
    whole: list[float]
    single: dict[str, list[float]]
    peers: dict[str, _Peer]


def _measured(rounds: int, count: int = MINUTES) -> _Batch:
    """The columns of each call of a library together, all that it shares with us, and the whole set."""
    from benchmarks.feature_peers import LIBRARIES, frame

    warnings.simplefilter("ignore")
    kind, columns = minutes()
    columns = columns.part(0, count)
    theirs = frame(columns)
    known = {feature.name: feature for feature in REGISTRY}
    whole: list[float] = []
    single: dict[str, list[float]] = {name: [] for name in known}
    peers = {name: _Peer(calls) for name, calls in LIBRARIES.items()}
    for n in range(rounds + 1):
        took = {name: seconds(partial(together, [f], columns)) for name, f in known.items()}
        set_took = seconds(lambda: compute(columns))
        turns = {name: _round(peer.calls, known, columns, theirs) for name, peer in peers.items()}
        if n:  # the first round only warms up
            whole.append(set_took)
            for name, value in took.items():
                single[name].append(value)
            for name, one in turns.items():
                peers[name].rounds.append(one)
        print(f"features: round {n} of {rounds}", file=sys.stderr)
    return _Batch(f"{count} {kind}", whole, single, peers)


def _facts(batch: _Batch) -> dict[str, Any]:
    """All figures of a batch."""
    kind, whole, single, peers = batch
    return {
        "minutes": kind,
        "peers": {"ta": version("ta"), "pandas_ta": version("pandas-ta-classic") + ", its own code"},
        "whole_set_ms": figures([1000 * value for value in whole]),
        "columns": len(REGISTRY),
        **{f"against_{name}": _compare(peer, single, whole) for name, peer in peers.items()},
        "alone_ms": {name: round(1000 * statistics.median(times), 3) for name, times in single.items()},
    }


class _Round(NamedTuple):
    """Seconds of each call, of our columns of that call together, and of ours of all calls together."""

    theirs: list[float]
    ours: list[float]
    all_of_ours: float


class _Peer:
    def __init__(self, calls: Sequence[tuple[tuple[str, ...], Callable[[Any], Any]]]) -> None:
        self.calls = calls
        self.rounds: list[_Round] = []


def _round(calls: Any, known: dict[str, Feature], columns: Columns, theirs: Any) -> _Round:
    groups = [[known[name] for name in names] for names, _ in calls]
    return _Round(
        [seconds(lambda call=call: call(theirs)) for _, call in calls],  # type: ignore[misc]
        [seconds(lambda group=group: together(group, columns)) for group in groups],  # type: ignore[misc]
        seconds(lambda: together([feature for group in groups for feature in group], columns)),
    )


def _compare(peer: _Peer, single: dict[str, list[float]], whole: list[float]) -> dict[str, Any]:
    """Ratios of one library's times to ours; the spread is over the rounds. A column's is its call's."""
    ratios = [
        statistics.median(one.theirs[k] / one.ours[k] for one in peer.rounds) for k in range(len(peer.calls))
    ]
    columns = {name: ratio for (names, _), ratio in zip(peer.calls, ratios, strict=True) for name in names}
    sums = [sum(one.theirs) for one in peer.rounds]
    alone = [sum(single[name][n] for name in columns) for n in range(len(peer.rounds))]
    together_ = [one.all_of_ours for one in peer.rounds]
    return {
        "shared_columns": len(columns),
        "calls": len(peer.calls),
        "ratio_of_sums": figures([t / o for t, o in zip(sums, together_, strict=True)]),
        "ratio_of_sums_nothing_shared": figures([t / o for t, o in zip(sums, alone, strict=True)]),
        "their_sum_to_our_whole_set": figures([t / o for t, o in zip(sums, whole, strict=True)]),
        "median_of_column_ratios": round(statistics.median(columns.values()), 1),
        "columns_at_10_or_more": sum(ratio >= 10 for ratio in columns.values()),
        "column_ratios": {n: round(r, 1) for n, r in sorted(columns.items(), key=lambda item: item[1])},
        "their_and_our_ms_of_a_call": {
            ", ".join(names): [
                round(1000 * statistics.median(times), 3)
                for times in ([r.theirs[k] for r in peer.rounds], [r.ours[k] for r in peer.rounds])
            ]
            for k, (names, _) in enumerate(peer.calls)
        },
    }


def _batch(options: Options, report: Report) -> None:
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    measured = _measured(rounds, 4 * 1440 if options.quick else MINUTES)
    report.facts["batch"] = _facts(measured)
    for name, peer in measured.peers.items():
        calls = f"{sum(len(names) for names, _ in peer.calls)} columns of {len(peer.calls)} calls"
        report.results += [
            Result(
                f"{calls}: all of them",
                "ms",
                [1000 * one.all_of_ours for one in peer.rounds],
                [1000 * sum(one.theirs) for one in peer.rounds],
                name,
                Target("<=", 1 / 50),
            ),
            Result(
                f"{calls}: the median column's time",
                f"of {name}'s",
                [
                    statistics.median(
                        mine / theirs
                        for (names, _), mine, theirs in zip(peer.calls, one.ours, one.theirs, strict=True)
                        for _ in names
                    )
                    for one in peer.rounds
                ],
                target=Target("<=", 1 / 10),
            ),
        ]
    report.results.append(
        Result("the whole set, four weeks of a symbol", "ms", [1000 * one for one in measured.whole])
    )


def _live(report: Report) -> None:
    report.facts["live"] = live = uvloop.run(feature_rows.live())
    minute = live["minute_ms"]["last_frame_to_all_rows"]
    report.results.append(
        Result("500 symbols: last frame to all rows", "ms", [minute["median"]], target=Target("<=", 1000))
    )


def _lookup(report: Report) -> None:
    report.facts["lookup"] = lookup = uvloop.run(feature_rows.lookup())
    for what in ("row", "day"):
        bare, *views = lookup[what].items()
        report.results += [
            Result(f"a {what} of {view}", "ms", [figure["median"]], [bare[1]["median"]], bare[0])
            for view, figure in views
        ]


def run(options: Options) -> Report:
    """Measure what is asked for, or all three: a batch beside the libraries, a live minute, and lookups
    beside the table. A quick look is at a batch, where nothing else is asked for.
    """
    report = Report()
    parts = [options.part] if options.part else PARTS[:1] if options.quick else PARTS
    if "batch" in parts:
        _batch(options, report)
    if "live" in parts:
        _live(report)
    if "lookup" in parts:
        _lookup(report)
    return report


if __name__ == "__main__":
    sys.exit(main(run))

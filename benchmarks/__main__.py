"""Runs benchmarks one after the other, each in a process of its own: ``python -m benchmarks [name...]``.

Needs nothing but the standard library itself, so that names can be checked before anything is installed.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.harness import Report

NAMES: Final = (
    "stream", "latency", "book", "market_minute", "history", "features", "export", "memory", "start",
    "storage", "peers",
)  # fmt: skip
_FOLDER: Final = Path(__file__).resolve().parent


def described(name: str) -> str:
    """Return the first line of a benchmark's docstring, without importing it."""
    path = _FOLDER / f"{name}.py"
    if not path.exists():
        path = _FOLDER / name / "__init__.py"
    if not path.exists():
        return "not in this checkout"
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return first.partition(": ``")[0].rstrip(".")


def chosen_names(asked: Sequence[str]) -> list[str]:
    """Return the benchmarks to run, all where none is asked for. Raises ValueError for an unknown name."""
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return list(dict.fromkeys(asked)) or list(NAMES)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.sh",
        description="Measures the suite beside its floors and its peers, and prints a table.",
        epilog="benchmarks:\n" + "\n".join(f"  {name:14} {described(name)}" for name in NAMES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="what to run (default: everything)")
    report.options_of(parser)
    parser.add_argument("--charts", type=Path, metavar="DIR", help="draw each curve as an SVG there")
    parser.add_argument(
        "--names", action="store_true", dest="only_names", help="print what would run, and end"
    )
    return parser


def run(name: str, options: Sequence[str], folder: Path) -> tuple[Report | None, dict[str, Any]]:
    """Run one benchmark; return its report, None where it crashed, and what goes into the JSON."""
    written = folder / f"{name}.json"
    started = time.monotonic()
    # What it prints goes with the progress: the table is printed once, at the end.
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", name, "--json", str(written), *options],
        cwd=_FOLDER.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    seconds = round(time.monotonic() - started, 1)
    if process.returncode != 0 or not written.exists():
        return None, {"error": f"ended with code {process.returncode}", "seconds": seconds}
    plain = json.loads(written.read_text(encoding="utf-8"))["benchmarks"][name]
    return report.from_json(plain), {**plain, "seconds": seconds}


def database_version() -> dict[str, str | None]:
    """Return the versions of the server that is measured on. Raises what the connection raises."""
    # Here, as everything else of this file runs without any package.
    from benchmarks import server

    return asyncio.run(server.version())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return 0 unless a benchmark crashed, 2 for an unknown name."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        names = chosen_names(chosen.names)
    except ValueError as error:
        parser.error(str(error))
    if chosen.only_names:
        print("\n".join(names))
        return 0
    options = [
        *(["--rounds", str(chosen.rounds)] if chosen.rounds else []),
        *(["--quick"] if chosen.quick else []),
    ]
    machine = report.machine() | {"database": database_version()} if chosen.json else {}
    before = report.load()
    reports: dict[str, Report] = {}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for number, name in enumerate(names, 1):
            print(f"{name} ({number} of {len(names)}): {described(name)}", file=sys.stderr, flush=True)
            result, found[name] = run(name, options, Path(folder))
            if result is not None:
                reports[name] = result
            else:
                print(f"{name}: {found[name]['error']}; its own words are above", file=sys.stderr)
    if chosen.json:
        report.write(chosen.json, found, machine | {"load_before": before, "load_after": report.load()})
    if chosen.charts:
        from benchmarks import charts

        if not charts.draw(reports, chosen.charts):
            print(f"{chosen.charts}: no charts, none of these has a curve", file=sys.stderr)
    print(report.table(reports))
    crashed = [name for name in names if name not in reports]
    if crashed:
        print(f"crashed: {', '.join(crashed)}", file=sys.stderr)
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())

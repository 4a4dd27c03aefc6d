"""What a steady service takes in memory: ``python -m benchmarks.memory``.

``python -m data_feeder`` and ``python -m gap_handler`` against the simulator at speed 60, with three days of
history, once that is whole and its feature rows are there: resident memory against that of a process that
only imports what the service has imported by then, and then does nothing. At 50 symbols, what the feeder
takes beyond 1.3 times that against the bytes of its feature windows.

Packages that ``requirements.lock`` does not hold cannot be imported here, as in a deployment: TA-Lib takes
pandas and polars where it finds them. Sizes are MB (10^6 bytes) of resident memory, shared pages included;
the facts hold what is the process's own (USS) and its share (PSS) beside them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import numpy as np
import psutil
import uvloop
from tests.processes import REPOSITORY, Ports, Program, until

from benchmarks.harness import Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.server import fresh_database
from benchmarks.services import SPEED, listening, seeded
from data_feeder.board import Board
from marketdata import database as db
from marketdata.database import Connection
from marketdata.features.columns import Columns
from marketdata.models import MINUTE_MS
from marketdata.reach import MAX_WINDOW

HISTORY_DAYS: Final = 3
STEADY_SECONDS: Final = 180.0
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", *(f"S{n:02}USDT" for n in range(47)))
SAMPLES: Final = 10
MOST: Final = Target("<=", 1.3)
DEPLOYED: Final = {"MALLOC_ARENA_MAX": "1"}
"""What deploy/Dockerfile and deploy/local/programs.py say to the allocator."""

_BLOCK: Final = "import sys, json; sys.modules.update(dict.fromkeys(json.loads(sys.argv.pop(1))));"
_SERVICE: Final = """
import atexit, runpy
names, service = sys.argv[1:]
sys.argv[1:] = []
def tell():
    with open(names, "w") as file:
        json.dump([name for name, module in sys.modules.items() if module is not None], file)
atexit.register(tell)
runpy.run_module(service, run_name="__main__", alter_sys=True)
"""
_IMPORTS: Final = """
import contextlib, importlib
for name in json.load(open(sys.argv[1])):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
print("imported", flush=True)
sys.stdin.read()
"""


class Size(NamedTuple):
    """MB that a process takes: resident, its own alone, and with its share of what others have too."""

    rss: float
    uss: float
    pss: float


def size(process: psutil.Process) -> Size:
    """Return what ``process`` takes now."""
    info = process.memory_full_info()
    return Size(info.rss / 1e6, info.uss / 1e6, info.pss / 1e6)


def absent() -> list[str]:
    """Return the importable names here that a deployment does not have."""
    locked = set(re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE))
    locked |= {"marketdata", "data-feeder", "gap-handler"}
    return sorted(
        name
        for name, holders in packages_distributions().items()
        if name not in sys.stdlib_module_names
        and not locked & {re.sub(r"[-_.]+", "-", holder).lower() for holder in holders}
        and re.fullmatch(r"\w+", name)
    )


class Service(Program):
    """A service that writes the names of all it has imported to a file at its end."""

    def __init__(self, folder: Path, module: str, environment: dict[str, str]) -> None:
        self.names = folder / f"{module}.modules"
        super().__init__(folder / f"{module}.log", module, environment=environment)
        self._command = [
            sys.executable, "-c", _BLOCK + _SERVICE, json.dumps(absent()), str(self.names), module,
        ]  # fmt: skip


def only_imports(names: Path, environment: dict[str, str]) -> Size:
    """Return the size of a process that imports the modules named in a file, and waits."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    paths = os.pathsep.join(str(REPOSITORY / package) for package in ("shared", "data-feeder", "gap-handler"))
    with subprocess.Popen(
        [sys.executable, "-c", _BLOCK + _IMPORTS, json.dumps(absent()), str(names)],
        env={**kept, "PYTHONPATH": paths, **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != "imported\n":
            raise SystemExit(f"the modules in {names} cannot be imported")
        found = size(psutil.Process(process.pid))
        process.communicate()
    return found


def windows(symbols: int) -> float:
    """Return the MB of the arrays in which a feeder keeps the minutes its features look at."""
    board, minutes = Board(MAX_WINDOW), Columns.from_rows(0, MAX_WINDOW * MINUTE_MS, ())
    for n in range(symbols):
        board.put(str(n), minutes)
    held = [
        part
        for kept in vars(board).values()
        for part in (kept.values() if isinstance(kept, dict) else [kept])
    ]
    return sum(part.nbytes for part in held if isinstance(part, np.ndarray)) / 1e6


async def caught_up(connection: Connection, symbols: int) -> bool:
    """Whether the history is whole and every candle of it that can have a row has one."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM candles_1m) AS candles, (SELECT count(*) FROM feature_values) AS rows,"
        " (SELECT count(*) FROM stale_features) AS stale,"
        " (SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap' AND NOT resolved) AS gaps"
    )
    assert row is not None
    whole = HISTORY_DAYS * 1440 * symbols
    return bool(row["candles"] >= whole * 0.99 and row["rows"] >= whole * 0.99 and row["gaps"] == 0)


class Steady(NamedTuple):
    """The sizes of the services, and of processes that only import what they do."""

    feeder: list[Size]
    handler: list[Size]
    feeder_imports: Size
    handler_imports: Size
    modules: dict[str, int]


async def steady(symbols: Sequence[str], seconds: float, environment: dict[str, str]) -> Steady:
    """Run both services until they have caught up and then for ``seconds``; look at the last quarter.

    ``environment`` is added to theirs, and to that of the processes that only import.
    """
    ports = Ports.free()
    feeder_sizes: list[Size] = []
    handler_sizes: list[Size] = []
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        async with fresh_database() as database:
            own = {
                **ports.environment(database),
                "SYMBOLS": ",".join(symbols),
                "HISTORY_DAYS": str(HISTORY_DAYS),
                **environment,
            }
            simulator = seeded(ports, folder, symbols, HISTORY_DAYS)
            feeder, handler = Service(folder, "data_feeder", own), Service(folder, "gap_handler", own)
            programs = (simulator, handler, feeder)
            connection = await db.connect(database, "memory")

            async def ready() -> bool:
                return await listening(ports) and await caught_up(connection, len(symbols))

            try:
                for program in programs:
                    program.start()
                await until(ready, seconds=900, what="the history is whole", programs=programs)
                started = time.monotonic()
                async with httpx.AsyncClient(timeout=10) as client:
                    for n in range(SAMPLES):
                        at = started + seconds * (0.75 + 0.25 * n / SAMPLES)
                        await asyncio.sleep(max(0.0, at - time.monotonic()))
                        for port in (ports.feeder, ports.handler):  # somebody scrapes
                            await client.get(f"http://127.0.0.1:{port}/metrics")
                        feeder_sizes.append(size(psutil.Process(feeder.pid)))
                        handler_sizes.append(size(psutil.Process(handler.pid)))
            finally:
                await connection.close()
                for program in reversed(programs):
                    if program.running:
                        program.stop(30)
            return Steady(
                feeder_sizes,
                handler_sizes,
                only_imports(feeder.names, environment),
                only_imports(handler.names, environment),
                {one.names.stem: len(json.loads(one.names.read_text())) for one in (feeder, handler)},
            )


def _middle(sizes: Sequence[Size]) -> dict[str, float]:
    return {
        field: round(statistics.median(getattr(one, field) for one in sizes), 1) for field in Size._fields
    }


def _facts(found: Steady) -> dict[str, Any]:
    return {
        "feeder": _middle(found.feeder),
        "feeder_imports": _middle([found.feeder_imports]),
        "gap_handler": _middle(found.handler),
        "gap_handler_imports": _middle([found.handler_imports]),
        "modules": found.modules,
    }


async def measure(options: Options) -> Report:
    """Measure at 3 symbols and, but for a quick look, at 50."""
    report = Report(facts={"speed": SPEED, "history_days": HISTORY_DAYS})
    seconds = 5.0 if options.quick else STEADY_SECONDS
    rounds = 1 if options.quick else options.rounds or 1
    few = [await steady(SYMBOLS[:3], seconds, DEPLOYED) for _ in range(rounds)]
    for name in ("feeder", "handler"):
        service = {"feeder": "feeder", "handler": "gap-handler"}[name]
        report.results.append(
            Result(
                f"{service}, 3 symbols, resident",
                "MB",
                [_middle(getattr(one, name))["rss"] for one in few],
                [getattr(one, f"{name}_imports").rss for one in few],
                "a process that only imports the same",
                MOST,
            )
        )
    report.facts["3 symbols"] = _facts(few[-1])
    if options.quick:
        return report
    many = await steady(SYMBOLS, seconds, DEPLOYED)
    report.facts["50 symbols"] = _facts(many)
    beyond = _middle(many.feeder)["rss"] - MOST.limit * many.feeder_imports.rss
    report.results.append(
        Result(
            "feeder, 50 symbols, resident beyond 1.3 times the imports",
            "MB",
            [beyond],
            [windows(len(SYMBOLS))],
            "the bytes of its feature windows",
            Target("<=", 1.5),
        )
    )
    return report


def run(options: Options) -> Report:
    """Measure what both services take."""
    return uvloop.run(measure(options))


if __name__ == "__main__":
    sys.exit(main(run))

"""A training set, from the database to the file: ``python -m benchmarks.export``.

Each round is the whole command in a process of its own, start and imports included: 13 months of one symbol
with 70 features to Parquet, three symbols' month, three months to each format, and a group instead of all.
CPU seconds are the process's own (user and system); what the server computes is not in them. The floor reads
the same candles by one bare COPY and writes them as Parquet, without any feature. Peak memory is the kernel's
high-water mark (VmHWM) of exports of 1, 3, 6 and 13 months.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final, NamedTuple

import numpy as np
from tests.features.samples import START, rows
from tests.processes import REPOSITORY, database_environment

from benchmarks.harness import Curve, Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.server import fresh_database
from marketdata import database as db
from marketdata.database import Connection
from marketdata.features.registry import ACTIVE
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS
from marketdata.store import symbols

DAY: Final = 1440
MONTHS: Final = (1, 3, 6, 13)
MONTH_DAYS: Final = 30
FEATURES: Final = tuple(feature.name for _, feature in ACTIVE)[:70]
ROUNDS: Final = 5
WARM_DAYS: Final = 2
"""Days before the first row, so that none lacks its window."""
FASTEST: Final = Target(">=", 1e6)

_COMMAND: Final = """
import re, sys
from marketdata.export.__main__ import main
code = main()
print(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""
_FLOOR: Final = """
import asyncio, io, os, re, sys
import asyncpg, numpy as np, pyarrow, pyarrow.parquet
output, symbol, start, end = sys.argv[1:]
names = "time open high low close volume quote_volume trades taker_buy_volume taker_buy_quote_volume".split()
async def read():
    e = os.environ
    connection = await asyncpg.connect(host=e["DB_HOST"], port=e["DB_PORT"], database=e["DB_NAME"],
                                       user=e["DB_USER"], password=e["DB_PASSWORD"] or None)
    data = io.BytesIO()
    await connection.copy_from_query(
        f"SELECT {', '.join(names)} FROM candles_1m WHERE symbol = '{symbol}' AND time >= '{start}'"
        f" AND time < '{end}'", output=data, format="binary")
    connection.terminate()
    return data.getvalue()
data = asyncio.run(read())
fields = [("n", ">i2")]
for name in names:
    fields += [("l" + name, ">i4"), (name, ">i8" if name in ("time", "trades") else ">f8")]
row = np.dtype(fields)
table = np.frombuffer(data, row, offset=19, count=(len(data) - 21) // row.itemsize)
columns = [table[name].astype(table.dtype[name].newbyteorder("=")) for name in names]
# Not by pyarrow.array, which would load pandas: half a second that is not the floor's.
arrays = [
    pyarrow.Array.from_buffers(pyarrow.from_numpy_dtype(c.dtype), len(c), [None, pyarrow.py_buffer(c)])
    for c in columns
]
written = pyarrow.Table.from_arrays(arrays, names)
pyarrow.parquet.write_table(written, output, compression="zstd", use_dictionary=False)
print(len(table), "rows")
print(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1])
"""


class Run(NamedTuple):
    """One program from start to end: rows written, seconds of CPU and of the clock, peak MB."""

    rows: int
    cpu: float
    wall: float
    peak: float

    def rate(self, features: int) -> float:
        """Feature values a CPU second."""
        return self.rows * features / self.cpu


class Bench:
    """Programs that read one database, and what each took."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environment = {**kept, "PYTHONPATH": str(REPOSITORY / "shared"), **environment}

    def export(self, days: int, names: str = "BTCUSDT", kind: str = "parquet", *chosen: str) -> Run:
        """Export so many days. ``chosen`` are arguments; without any, FEATURES."""
        return self._run(
            _COMMAND, "--symbols", names, "--from", _day(0), "--to", _day(days), "--format", kind,
            "--overwrite", "--output", str(self._folder / f"out.{kind}"),
            *(chosen or ("--features", ",".join(FEATURES))),
        )  # fmt: skip

    def floor(self, days: int) -> Run:
        """Copy the same candles to a file."""
        return self._run(_FLOOR, str(self._folder / "floor.parquet"), "BTCUSDT", _day(0), _day(days))

    def _run(self, program: str, *arguments: str) -> Run:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        wall, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(done.stderr)
        written = re.match(r"([0-9,]+) rows", done.stdout)
        assert written is not None
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Run(int(written[1].replace(",", "")), cpu, wall, int(done.stdout.split()[-1]) * 1024 / 1e6)


def _day(day: int) -> str:
    return isoformat(START + (WARM_DAYS + day) * DAY * MINUTE_MS)


async def fill(connection: Connection, days: int, month: int) -> None:
    """Put seeded candles in: so many days of BTCUSDT, and a month of two others."""
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    total = days + WARM_DAYS
    end = START + total * DAY * MINUTE_MS
    await connection.execute("SELECT advance_market_clock($1)", end + 30_000)
    await symbols.register(connection, dict.fromkeys(names, "TRADING"), now_ms=end, history_days=total)
    for seed, name in enumerate(names):
        of = rows((total if name == "BTCUSDT" else month + WARM_DAYS) * DAY, seed=seed + 1)
        records = (
            (name, int(r[0]), *r[1:7].tolist(), int(r[7]), *r[8:].tolist(), "archive", int(r[0]) + MINUTE_MS)
            for r in of
        )
        await connection.copy_records_to_table("candles_1m", records=records)
    await connection.execute("ANALYZE candles_1m")


def measure(bench: Bench, options: Options) -> Report:
    """Run the rounds, in turns, and the curve."""
    month = 2 if options.quick else MONTH_DAYS
    few, most = (month, 2 * month) if options.quick else (3 * month, MONTHS[-1] * month)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    runs: dict[str, list[Run]] = {
        name: [] for name in ("long", "floor", "three", "few", "arrow", "csv", "group")
    }
    for n in range(rounds):
        runs["long"].append(bench.export(most))
        runs["floor"].append(bench.floor(most))
        runs["three"].append(bench.export(month, "BTCUSDT,ETHUSDT,SOLUSDT"))
        runs["few"].append(bench.export(few))
        runs["arrow"].append(bench.export(few, kind="arrow"))
        runs["csv"].append(bench.export(few, kind="csv"))
        runs["group"].append(bench.export(few, "BTCUSDT", "parquet", "--groups", "returns"))
        print(f"export: round {n + 1} of {rounds}", file=sys.stderr)
    n = len(FEATURES)
    report = Report(
        facts={
            "features": n,
            "rows": {name: one[0].rows for name, one in runs.items()},
            "cpu_seconds": {
                name: round(statistics.median(r.cpu for r in one), 2) for name, one in runs.items()
            },
            "wall_seconds": {
                name: round(statistics.median(r.wall for r in one), 2) for name, one in runs.items()
            },
        }
    )
    for name, said in (
        ("long", f"{most // month} months of one symbol to Parquet"),
        ("three", "a month of three symbols to Parquet"),
        ("few", f"{few // month} months of one symbol to Parquet"),
        ("arrow", "the same to Arrow"),
        ("csv", "the same to CSV"),
    ):
        report.results.append(
            Result(said, "values/s of CPU", [r.rate(n) for r in runs[name]], target=FASTEST)
        )
    report.results += [
        Result(
            f"{most // month} months of one symbol to Parquet, by the clock",
            "values/s", [r.rows * n / r.wall for r in runs["long"]],
        ),
        Result(
            f"{most // month} months: CPU seconds",
            "s", [r.cpu for r in runs["long"]], [r.cpu for r in runs["floor"]],
            "a bare COPY of the candles, written as they are",
        ),
        Result(
            "one group of nine features: CPU seconds",
            "s", [r.cpu for r in runs["group"]], [r.cpu for r in runs["few"]], f"all {n}",
        ),
    ]  # fmt: skip
    peaks = _peaks(bench, [m * month for m in (MONTHS[:2] if options.quick else MONTHS)], rounds, month)
    report.curves.append(peaks)
    if not options.quick:
        report.results.append(
            Result(
                "peak memory of 13 months",
                "MB", peaks.points[-1][1], peaks.points[0][1], "1 month", Target("<=", 1.1),
            )
        )  # fmt: skip
    return report


def _peaks(bench: Bench, days: Sequence[int], rounds: int, month: int) -> Curve:
    peaks: dict[int, list[float]] = {count: [] for count in days}
    for n in range(min(rounds, 3)):
        for count in days:
            peaks[count].append(bench.export(count).peak)
        print(f"export: memory, round {n + 1}", file=sys.stderr)
    points = [(count / month, values) for count, values in peaks.items()]
    middle = [statistics.median(values) for _, values in points]
    slope = float(np.polyfit([x for x, _ in points], middle, 1)[0])
    return Curve(
        "peak memory of an export, one symbol, 70 features",
        "months",
        "MB resident at most",
        points,
        f"{slope:+.2f} MB a month on {middle[0]:.0f}: flat but for what the allocator keeps",
    )


async def _with_database(options: Options) -> Report:
    days = (MONTHS[-1] * MONTH_DAYS) if not options.quick else 6
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        async with fresh_database() as database:
            connection = await db.connect(database, "bench")
            await fill(connection, days, 2 if options.quick else MONTH_DAYS)
            await connection.close()
            print("export: filled", file=sys.stderr)
            environment = database_environment(database)
            return await asyncio.to_thread(measure, Bench(Path(folder), environment), options)


def run(options: Options) -> Report:
    """Measure exports."""
    return asyncio.run(_with_database(options))


if __name__ == "__main__":
    sys.exit(main(run))

"""Whether anything grows: ``python -m benchmarks.soak --minutes 20``.

Feeder, gap-handler and database against the seeded simulator, an hour of market time a minute, with a
connection cut once a minute. Every ten seconds: resident memory, open descriptors and connections of both
services, and the database's connections. Memory may grow until minute 5 (history, windows, caches fill).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import psutil
from tests.processes import Ports, Program, until

from benchmarks import report
from benchmarks.server import fresh_database
from benchmarks.services import SPEED, listening, seeded
from marketdata import database as db
from marketdata.database import Connection

SYMBOLS: Final = tuple(
    f"{name}USDT" for name in ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "LTC", "DOT", "TRX")
)
HISTORY_DAYS: Final = 2
SAMPLE_SECONDS: Final = 10
WARM_MINUTE: Final = 5
MOST_GROWTH: Final = 0.05


class Sample(NamedTuple):
    """One look: seconds since the start, and of each service MB, descriptors and connections."""

    at: float
    feeder_mb: float
    feeder_fds: int
    feeder_connections: int
    handler_mb: float
    handler_fds: int
    handler_connections: int
    database_connections: int
    candles: int


COUNTED: Final = (
    "feeder_fds",
    "feeder_connections",
    "handler_fds",
    "handler_connections",
    "database_connections",
)


async def look(
    started: float, feeder: psutil.Process, handler: psutil.Process, connection: Connection
) -> Sample:
    """Take a sample. Raises ``psutil.NoSuchProcess`` when a service has ended."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()) AS connections, (SELECT count(*) FROM candles_1m) AS candles"
    )
    assert row is not None
    return Sample(
        round(time.monotonic() - started, 1), *of(feeder), *of(handler), row["connections"], row["candles"]
    )


def of(process: psutil.Process) -> tuple[float, int, int]:
    """Return a process's resident MB, open descriptors and connections."""
    return round(process.memory_info().rss / 1e6, 1), process.num_fds(), len(process.net_connections())


def verdict(samples: Sequence[Sample], warm: float) -> dict[str, Any]:
    """Judge the samples; ``warm`` is the second from which nothing should grow any more.

    Memory: the last minute's median against the first's after ``warm``. Descriptors and connections come
    and go by a few; what leaks never comes back down, so the lowest of the end must have been seen before.
    """
    begun = [s for s in samples if warm <= s.at < warm + 60] or list(samples[:1])
    ended = [s for s in samples if s.at > samples[-1].at - 60]
    judged: dict[str, Any] = {}
    for name in ("feeder_mb", "handler_mb"):
        before, after = (statistics.median(getattr(s, name) for s in part) for part in (begun, ended))
        judged[name] = {"before": before, "after": after, "growth": round(after / before - 1, 4),
                        "passed": after / before - 1 <= MOST_GROWTH}  # fmt: skip
    for name in COUNTED:
        most = max(getattr(s, name) for s in begun)
        least = min(getattr(s, name) for s in ended)
        judged[name] = {"before": most, "after": least, "passed": least <= most}
    judged["passed"] = all(part["passed"] for part in judged.values())
    return judged


def table(samples: Sequence[Sample]) -> str:
    """Return the medians of each minute, as lines."""
    names = Sample._fields[1:]
    lines = ["minute " + " ".join(f"{name.replace('_connections', '_conn'):>13}" for name in names)]
    for minute in range(int(samples[-1].at // 60) + 1):
        part = [s for s in samples if s.at // 60 == minute]
        if part:
            cells = " ".join(f"{statistics.median(getattr(s, name) for s in part):>13.1f}" for name in names)
            lines.append(f"{minute:>6} {cells}")
    return "\n".join(lines)


async def run(minutes: float) -> dict[str, Any]:
    """Soak for so many minutes and return the samples and the verdict."""
    ports = Ports.free()
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        async with fresh_database() as database, httpx.AsyncClient(timeout=10) as client:
            environment = {
                **ports.environment(database),
                "SYMBOLS": ",".join(SYMBOLS),
                "HISTORY_DAYS": str(HISTORY_DAYS),
            }
            simulator = seeded(ports, Path(folder), SYMBOLS, HISTORY_DAYS)
            feeder = Program(Path(folder, "feeder.log"), "data_feeder", environment=environment)
            handler = Program(Path(folder, "handler.log"), "gap_handler", environment=environment)
            connection = await db.connect(database, "soak")

            try:
                for program in (simulator, handler, feeder):
                    program.start()
                await until(lambda: listening(ports), seconds=120, what="both services answer")
                services = psutil.Process(feeder.pid), psutil.Process(handler.pid)
                started = time.monotonic()
                cut = started + 60
                while (now := time.monotonic()) < started + minutes * 60:
                    await asyncio.sleep(SAMPLE_SECONDS - (now - started) % SAMPLE_SECONDS)
                    if time.monotonic() > cut:
                        cut += 60
                        body = {"kind": "drop_connections"}
                        await client.post(f"http://127.0.0.1:{ports.http}/control/faults", json=body)
                        await client.delete(f"http://127.0.0.1:{ports.http}/control/faults")
                        continue  # what is being built up again is not the usual state
                    for port in (ports.feeder, ports.handler):
                        for path in ("health", "metrics"):
                            await client.get(
                                f"http://127.0.0.1:{port}/{path}", headers={"connection": "close"}
                            )
                    samples.append(await look(started, *services, connection))
                    print(samples[-1], file=sys.stderr)
            except (psutil.NoSuchProcess, httpx.HTTPError) as error:
                tails = [p.output()[-2000:] for p in (simulator, feeder, handler)]
                raise SystemExit("\n".join([f"a program has ended: {error!r}", *tails])) from error
            finally:
                await connection.close()
                for program in (feeder, handler, simulator):
                    if program.running:
                        program.stop()
    warm = min(WARM_MINUTE, minutes / 2) * 60
    return {
        "machine": report.machine(),
        "minutes": minutes,
        "market_hours": round(minutes * SPEED / 60, 1),
        "symbols": len(SYMBOLS),
        "verdict": verdict(samples, warm),
        "samples": [sample._asdict() for sample in samples],
    }


def main() -> int:
    """Run, print and return 0 when nothing grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write samples and verdict there")
    chosen = parser.parse_args()
    result = asyncio.run(run(chosen.minutes))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table([Sample(**sample) for sample in result["samples"]]))
    print(json.dumps(result["verdict"], indent=2))
    return 0 if result["verdict"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())

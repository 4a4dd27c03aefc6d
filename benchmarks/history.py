"""Filling the history against its ceilings: ``python -m benchmarks.history [archive|rest|gap]``.

By REST: rows a second of a whole gap-handler at the simulator's REST, three symbols, as a share of what ten
requests of a thousand rows a second can bring. By archive: rows a second of the same gap-handler at the
simulator's archives (its files built beforehand, the gaps ending where the archives do), in turns with two
floors that load the same rows, ready as Python tuples, in pieces of the same size on as many connections from
one process: asyncpg's ``copy_records_to_table`` into a temporary table and one ``INSERT ... SELECT ... ON
CONFLICT DO UPDATE`` of all columns. One floor's table has the columns and the primary key of candles_1m and
nothing else; the other's is its twin, with its checks and its second index. Both are hypertables where it is
one. The floors download, unpack, parse and check nothing and keep no ledger. Gap size: seconds from a gap's
row in the ledger to its being closed, by the route the handler chooses. The simulator is another process.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import uvloop
from tests.processes import database_environment

from benchmarks.harness import Curve, Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.server import described, fresh_database
from gap_handler.archive.files import DAY_MS, File, month_of
from gap_handler.ip_pool import REQUESTS_A_SECOND
from gap_handler.server import listen
from gap_handler.service import running
from marketdata import database as db
from marketdata.binance.rest import KLINES_LIMIT
from marketdata.database import Connection
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Candle
from marketdata.settings import DatabaseSettings, Settings, load
from marketdata.store.bulk import CHUNK_MS
from marketdata.store.ledger import record_missing

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
NOW: Final = 1_772_539_230_000
"""2026-03-03T12:00:30Z."""
END: Final = NOW - 30_000
ARCHIVED: Final = END - END % DAY_MS - DAY_MS
"""Where the archives end: yesterday and today are always asked for by REST."""
WORKERS: Final = 5
DAYS: Final = 150
PARTS: Final = ("archive", "rest", "gap")
GAPS: Final = (1, 10, 100, 1_000, 10_000, 31 * 1440, 182 * 1440)
"""Minutes; the last two are a month and half a year."""
_ALL: Final = ", ".join(Candle._fields)
_NUMBERS: Final = (*Candle._fields[2:], "source", "known_at")
_STAGING: Final = "CREATE TEMPORARY TABLE staging (LIKE candles_1m) ON COMMIT DELETE ROWS"
_FLOORS: Final = {
    "bare": "CREATE TABLE bare (LIKE candles_1m); ALTER TABLE bare ADD PRIMARY KEY (symbol, time)",
    "twin": "CREATE TABLE twin (LIKE candles_1m INCLUDING ALL)",
}
_HYPERTABLE: Final = (
    "SELECT create_hypertable($1::text::regclass, by_range('time', interval '7 days'),"
    " create_default_indexes => false)"
)


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


async def open_gaps(connection: Connection, days: int, end: int = END) -> None:
    """Leave the database as a first start does: no candles, one gap a symbol, ``days`` up to ``end``."""
    await connection.execute("TRUNCATE candles_1m, data_quality_logs, stale_features, symbols")
    await connection.execute("SELECT advance_market_clock($1)", NOW)
    for symbol in SYMBOLS:
        await connection.execute(
            "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)",
            symbol,
            end - days * DAY_MS,
        )
        await record_missing(connection, symbol, end - days * DAY_MS, end, "start")


async def closed(connection: Connection) -> None:
    """Return once no gap is open."""
    while await connection.fetchval("SELECT count(*) FROM data_quality_logs WHERE NOT resolved"):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def settings_of(database: DatabaseSettings, api: str, archive: str) -> Settings:
    """Return the gap-handler's settings."""
    return load(
        {
            **database_environment(database),
            "BINANCE_API_URL": api,
            "BINANCE_ARCHIVE_URL": archive,
            "MAX_CONCURRENT_BACKFILLS": str(WORKERS),
            "AUDIT_DAYS": "0",
        }
    )


async def fill(settings: Settings, connection: Connection, days: int, end: int = END) -> tuple[float, float]:
    """Return the seconds, and those of this process's CPU, from a first start to closed gaps."""
    await open_gaps(connection, days, end)
    started, cpu = time.perf_counter(), time.process_time()
    async with running(settings, "", listen("127.0.0.1", 0)):
        await closed(connection)
        return time.perf_counter() - started, time.process_time() - cpu


@asynccontextmanager
async def simulator(days: int) -> AsyncIterator[str]:
    """Run the exchange simulator from ``NOW`` on; yields its REST address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "exchange_simulator", "--seed", "7", "--symbols", ",".join(SYMBOLS),
        "--history-days", str(days), "--start", isoformat(NOW),
        "--http-port", str(port), "--stream-port", "0",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    await client.get(f"{url}/api/v3/ping")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def build_files(api: str, days: int) -> None:
    """Have the simulator build every file that will be asked for: that is not the gap-handler's time."""
    files = set[File]()
    for symbol in SYMBOLS:
        at = END - days * DAY_MS
        while at < END:
            files.add(File(symbol, *month_of(at)))
            files.add(File(symbol, at - at % DAY_MS, at - at % DAY_MS + DAY_MS))
            at += DAY_MS
    newest = max(file.end for file in files if file.monthly and file.end < END)
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        for file in sorted(files):
            if file.end < END and (file.monthly or file.start >= newest):
                await client.get(f"{api}{file.path}.CHECKSUM")


Piece = list[tuple[Any, ...]]


async def stored(connection: Connection) -> list[Piece]:
    """Return what the gap-handler has written, as tuples for COPY, a chunk of one symbol a piece."""
    pieces: dict[tuple[str, int], Piece] = {}
    rows = await connection.fetch(f"SELECT {_ALL}, source, known_at FROM candles_1m ORDER BY symbol, time")
    for row in rows:
        pieces.setdefault((row["symbol"], row["time"] // CHUNK_MS), []).append(tuple(row))
    return list(pieces.values())


async def plain_load(database: DatabaseSettings, table: str, pieces: Sequence[Piece]) -> tuple[float, float]:
    """Return the seconds, and those of this process's CPU, of a COPY to staging and one upsert a piece."""
    work = list(pieces)
    upsert = (
        f"INSERT INTO {table} SELECT * FROM staging ON CONFLICT (symbol, time) DO UPDATE SET "
        + ", ".join(f"{name} = EXCLUDED.{name}" for name in _NUMBERS)
    )
    connections = [await db.connect(database, "bench") for _ in range(WORKERS)]
    await connections[0].execute(f"TRUNCATE {table}")
    for connection in connections:
        await connection.execute(_STAGING)

    async def load_some(connection: Connection) -> None:
        while work:
            part = work.pop()
            async with connection.transaction():
                await connection.copy_records_to_table("staging", records=part)
                await connection.execute(upsert)

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(load_some, connections))
    spent = time.perf_counter() - started, time.process_time() - cpu
    for connection in connections:
        await connection.close()
    return spent


async def by_archive(report: Report, days: int, rounds: int) -> None:
    """Rows a second from archives, beside the two floors."""
    ours, floors = list[float](), {name: list[float]() for name in _FLOORS}
    cpu = {name: list[float]() for name in ("ours", *_FLOORS)}
    async with fresh_database() as database, simulator(days + 2) as url:
        connection = await db.connect(database, "bench")
        for statement in _FLOORS.values():
            await connection.execute(statement)
        if not (await described(connection)).startswith("plain"):
            for name in _FLOORS:
                await connection.execute(_HYPERTABLE, name)
        say(f"archive: building the files of {days} days")
        await build_files(url, days)
        settings = settings_of(database, url, url)
        pieces, count = list[Piece](), 0
        for number in range(1, rounds + 1):
            seconds, busy = await fill(settings, connection, days, ARCHIVED)
            if not pieces:
                pieces = await stored(connection)
                count = sum(map(len, pieces))
            ours.append(count / seconds)
            cpu["ours"].append(busy / count * 1e6)
            for name in _FLOORS:
                seconds, busy = await plain_load(database, name, pieces)
                floors[name].append(count / seconds)
                cpu[name].append(busy / count * 1e6)
            say(
                f"archive: round {number} of {rounds}: {ours[-1]:,.0f} rows/s, floors "
                + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in floors.items())
            )
        sources = await connection.fetch("SELECT source, count(*) FROM candles_1m GROUP BY source")
        report.facts["archive"] = {
            "server": await described(connection),
            "days": days,
            "rows": {record["source"]: record["count"] for record in sources},
            "client µs a row": {name: min(values) for name, values in cpu.items()},
        }
        await connection.close()
    bare = "COPY to a temporary table and upsert into one with its primary key alone"
    twin = "the same into a twin of candles_1m with its checks and its second index"
    report.results.append(
        Result("backfill by archive", "rows/s", ours, floors["bare"], bare, Target(">=", 0.70))
    )
    report.results.append(Result("backfill by archive beside a twin", "rows/s", ours, floors["twin"], twin))


async def by_rest(report: Report, days: int, rounds: int) -> None:
    """Rows a second by REST as a share of the limit's ceiling."""
    ours, ceiling = list[float](), float(REQUESTS_A_SECOND * KLINES_LIMIT)
    async with fresh_database() as database, simulator(days + 2) as url:
        connection = await db.connect(database, "bench")
        settings = settings_of(database, url, "off")
        for number in range(1, rounds + 1):
            seconds, _ = await fill(settings, connection, days)
            ours.append(await connection.fetchval("SELECT count(*) FROM candles_1m") / seconds)
            say(f"rest: round {number} of {rounds}: {ours[-1] / ceiling:.3f} of the ceiling")
        report.facts["rest"] = {"server": await described(connection), "days": days}
        await connection.close()
    report.results.append(
        Result(
            "backfill by REST", "rows/s", ours, [ceiling] * len(ours),
            "ten requests of a thousand rows a second", Target(">=", 0.95),
        )
    )  # fmt: skip


async def one_gap(settings: Settings, connection: Connection, start: int, end: int) -> float:
    """Return the seconds from a gap's row to its being closed, by the ledger's own times.

    A handler of its own: one that runs does not ask for the same file twice in an hour.
    """
    await connection.execute("TRUNCATE candles_1m, data_quality_logs, stale_features")
    listening = listen("127.0.0.1", 0)
    async with running(settings, "", listening), httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        while (await client.get(f"{url}/health")).json().get("status") != "healthy":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        asked = {"symbol": SYMBOLS[0], "start": isoformat(start), "end": isoformat(end)}
        (await client.post(f"{url}/backfill", json=asked)).raise_for_status()
        await closed(connection)
        return float(
            await connection.fetchval(
                "SELECT extract(epoch FROM max(resolved_at) - min(created_at))"
                " FROM data_quality_logs WHERE event_type = 'gap'"
            )
        )


async def by_size(report: Report, sizes: Sequence[int], rounds: int) -> None:
    """Seconds from a gap's row in the ledger to its being closed, of a handler that runs."""
    points: list[tuple[float, list[float]]] = [(float(minutes), []) for minutes in sizes]
    days = max(sizes) // 1440 + 4
    async with fresh_database() as database, simulator(days) as url:
        connection = await db.connect(database, "bench")
        say(f"gap size: building the files of {days} days")
        await build_files(url, days - 1)
        await open_gaps(connection, days)
        settings = settings_of(database, url, url)
        for number in range(1, rounds + 1):
            for minutes, spent in points:
                spent.append(
                    await one_gap(settings, connection, ARCHIVED - int(minutes) * MINUTE_MS, ARCHIVED)
                )
            say(f"gap size: round {number} of {rounds}: {[round(spent[-1], 2) for _, spent in points]}")
        report.facts["gap size"] = {"server": await described(connection), "symbols": 1}
        await connection.close()
    report.curves.append(
        Curve("gap size", "minutes", "seconds from opened to closed", points, slope_of(points))
    )


def slope_of(points: Sequence[tuple[float, Sequence[float]]]) -> str:
    """Say how the last and the first compare."""
    (small, first), (large, last) = points[0], points[-1]
    return (
        f"{large / small:,.0f} times the minutes take {min(last) / min(first):,.1f} times the seconds"
        f" ({min(first):.2f} s to {min(last):.1f} s)"
    )


async def measure(options: Options) -> Report:
    """Measure what is asked for, or all three in turn."""
    report = Report(facts={"workers": WORKERS})
    if options.part in (None, "archive"):
        await by_archive(report, 35 if options.quick else DAYS, options.rounds or (1 if options.quick else 5))
    if options.part in (None, "rest"):
        await by_rest(report, 1 if options.quick else DAYS, options.rounds or (1 if options.quick else 3))
    if options.part in (None, "gap"):
        sizes = GAPS[:4] if options.quick else GAPS
        await by_size(report, sizes, options.rounds or (1 if options.quick else 3))
    return report


def run(options: Options) -> Report:
    """Measure, and return the figures."""
    return uvloop.run(measure(options))


if __name__ == "__main__":
    sys.exit(main(run))

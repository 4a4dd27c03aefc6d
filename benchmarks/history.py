"""Filling the history against its ceilings: ``python -m benchmarks.history [rest|archive] [days]``.

By REST: rows a second of a whole gap-handler at the simulator's REST, three symbols, as a share of what ten
requests of a thousand rows a second can bring. By archive: rows a second of the same gap-handler at the
simulator's archives (its files built beforehand), against the same rows copied to a staging table and
upserted by one plain statement, in pieces of the same size on as many connections. The simulator is a process
of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import uvloop
from tests.processes import database_environment

from benchmarks.server import fresh_database
from gap_handler.archive.files import DAY_MS, File, month_of
from gap_handler.ip_pool import REQUESTS_A_SECOND
from gap_handler.server import listen
from gap_handler.service import running
from marketdata import database as db
from marketdata.binance.rest import KLINES_LIMIT
from marketdata.database import Connection
from marketdata.minutes import isoformat
from marketdata.models import Candle
from marketdata.settings import DatabaseSettings, load
from marketdata.store import candles
from marketdata.store.ledger import record_missing

SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
NOW: Final = 1_772_539_230_000
"""2026-03-03T12:00:30Z."""
END: Final = NOW - 30_000
WORKERS: Final = 5
_STAGING = "CREATE TEMPORARY TABLE staging (LIKE candles_1m) ON COMMIT DELETE ROWS"
_PLAIN = (
    "INSERT INTO bare SELECT * FROM staging ON CONFLICT (symbol, time) DO UPDATE SET close = EXCLUDED.close"
)
_BARE = "CREATE TABLE bare (LIKE candles_1m); ALTER TABLE bare ADD PRIMARY KEY (symbol, time)"


async def fill(
    database: DatabaseSettings, connection: Connection, api: str, archive: str, days: int
) -> float:
    """Open the gaps of a first start, and return the seconds until a gap-handler has closed them."""
    await connection.execute("SELECT advance_market_clock($1)", NOW)
    for symbol in SYMBOLS:
        await connection.execute(
            "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)",
            symbol,
            END - days * DAY_MS,
        )
        await record_missing(connection, symbol, END - days * DAY_MS, END, "start")
    settings = load(
        {
            **database_environment(database),
            "BINANCE_API_URL": api,
            "BINANCE_ARCHIVE_URL": archive,
            "MAX_CONCURRENT_BACKFILLS": str(WORKERS),
        }
    )
    started = time.perf_counter()
    async with running(settings, "", listen("127.0.0.1", 0)):
        while await connection.fetchval("SELECT count(*) FROM data_quality_logs WHERE NOT resolved"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        return time.perf_counter() - started


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
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        for symbol in SYMBOLS:
            at, files = END - days * DAY_MS, set[File]()
            while at < END:
                files.add(File(symbol, *month_of(at)))
                files.add(File(symbol, at - at % DAY_MS, at - at % DAY_MS + DAY_MS))
                at += DAY_MS
            for file in sorted(file for file in files if file.monthly and file.end < END):
                await client.get(f"{api}{file.path}.CHECKSUM")


async def plain_load(database: DatabaseSettings, rows: Sequence[Candle]) -> float:
    """Return the seconds of COPY to a staging table and one plain upsert, a chunk each, no checks."""
    work = list(candles.chunks(rows, lambda row: row))
    connections = [await db.connect(database, "bench") for _ in range(WORKERS)]
    for connection in connections:
        await connection.execute(_STAGING)

    async def load_some(connection: Connection) -> None:
        while work:
            part = [(*row, "archive", NOW) for row in work.pop()]
            async with connection.transaction():
                await connection.copy_records_to_table("staging", records=part)
                await connection.execute(_PLAIN)

    started = time.perf_counter()
    await asyncio.gather(*map(load_some, connections))
    seconds = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    return seconds


async def measure(kind: str, days: int) -> dict[str, Any]:
    """Fill a fresh database by ``rest`` or ``archive`` and return the figures."""
    async with fresh_database() as database, simulator(days + 2) as url:
        connection = await db.connect(database, "bench")
        if kind == "archive":
            await build_files(url, days)
        seconds = await fill(database, connection, url, url if kind == "archive" else "off", days)
        sources = dict(
            tuple(r)
            for r in await connection.fetch("SELECT source, count(*) FROM candles_1m GROUP BY source")
        )
        rows = sum(sources.values())
        found: dict[str, Any] = {
            "days": days,
            "rows": sources,
            "seconds": seconds,
            "rows_per_second": rows / seconds,
            "server": await connection.fetchval(
                "SELECT server_kind() || ', PostgreSQL ' || current_setting('server_version')"
            ),
        }
        if kind == "rest":
            found["share_of_ceiling"] = rows / seconds / (REQUESTS_A_SECOND * KLINES_LIMIT)
        else:
            await connection.execute(_BARE)
            records = await connection.fetch(
                "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,"
                " taker_buy_quote_volume FROM candles_1m"
            )
            plain = await plain_load(database, [Candle(*record) for record in records])
            found |= {"plain_rows_per_second": rows / plain, "ratio": plain / seconds}
        await connection.close()
        return found


async def run(kinds: Sequence[str], days: int) -> dict[str, Any]:
    """Measure each kind in turn."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"machine": machine} | {kind: await measure(kind, days) for kind in kinds}


if __name__ == "__main__":
    import logging

    logging.disable(logging.INFO)
    chosen = [word for word in sys.argv[1:] if word in ("rest", "archive")] or ["rest", "archive"]
    length = next((int(word) for word in sys.argv[1:] if word.isdigit()), 150)
    print(json.dumps(uvloop.run(run(chosen, length)), indent=2))

"""The write path against its floors: ``python -m benchmarks.write_path``.

Latency: a final kline frame's bytes to its commit (decode, sequence, buffer, upsert, stale marks,
market clock), against one prepared bare INSERT of the same row on the same server. Throughput: the
writer's batches against a bare COPY of the same rows. Rounds alternate, so that whatever else the
machine does falls on both.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import time
from typing import Any

import uvloop

from benchmarks.server import fresh_database
from data_feeder.buffer import Buffer, Item
from data_feeder.ingest import Ingest
from data_feeder.writer import Writer
from marketdata import database as db
from marketdata.clock import MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles

T0 = 1679616000000
ROUNDS = 5
FRAMES = 200
BATCH = 5000
BATCHES = 8
_BARE = "CREATE TABLE bare (LIKE candles_1m); ALTER TABLE bare ADD PRIMARY KEY (symbol, time)"
_INSERT = "INSERT INTO bare VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'stream', $2)"


def frame(minute: int) -> bytes:
    """Return a final kline frame as the exchange sends it."""
    t = T0 + minute * MINUTE_MS
    k = {
        "t": t, "T": t + 59_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 835, "o": "76421.07000000",
        "c": "76408.36000000", "h": "76421.08000000", "l": "76408.35000000", "v": "2.62202000", "n": 835,
        "x": True, "q": "200365.91000000", "V": "1.10000000", "Q": "84055.10000000", "B": "0",
    }  # fmt: skip
    data = {"e": "kline", "E": t + 60_019, "s": "BTCUSDT", "k": k}
    return json.dumps({"stream": "btcusdt@kline_1m", "data": data}).encode()


def candle(symbol: str, minute: int) -> Candle:
    """Return a candle like the frame's."""
    return Candle(
        symbol,
        T0 + minute * MINUTE_MS,
        76421.07,
        76421.08,
        76408.35,
        76408.36,
        2.62202,
        200365.91,
        835,
        1.1,
        84055.1,
    )


async def frame_to_commit(settings: DatabaseSettings, first: int) -> list[float]:
    """Return seconds from a frame in hand to its commit, one frame at a time."""
    clock, market, buffer = SystemClock(), MarketClock(), Buffer()
    ingest = Ingest(["BTCUSDT"], T0 + (first - 1) * MINUTE_MS, buffer, market, clock)
    committed = asyncio.Event()
    seconds: list[float] = []

    def on_commit(batch: list[Item], *_: Any) -> None:
        seconds.append(time.perf_counter() - started)
        committed.set()

    writer = Writer(
        settings, buffer, market, clock, symbols=["BTCUSDT"], head=T0 + (first - 1) * MINUTE_MS,
        batch_max_rows=5000, on_commit=on_commit, on_gaps=lambda gaps: None,
    )  # fmt: skip
    task = asyncio.create_task(writer.run())
    for n in range(FRAMES + 20):
        raw = frame(first + n)
        committed.clear()
        started = time.perf_counter()
        await ingest.frame(raw)
        await committed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return seconds[20:]


async def bare_insert(connection: Connection, first: int) -> list[float]:
    """Return seconds of single prepared inserts of the same row."""
    statement = await connection.prepare(_INSERT)
    seconds = []
    for n in range(FRAMES + 20):
        row = candle("BTCUSDT", first + n)
        started = time.perf_counter()
        await statement.fetch(*row)
        seconds.append(time.perf_counter() - started)
    return seconds[20:]


async def throughput(connection: Connection, round_number: int) -> tuple[float, float]:
    """Return rows a second of the writer and of COPY, over the same rows."""
    batches = [
        [candle(f"S{s}R{round_number}", b * 50 + m) for s in range(BATCH // 50) for m in range(50)]
        for b in range(BATCHES)
    ]
    started = time.perf_counter()
    for batch in batches:
        rows = [candles.Row(c, c.time + 60_019) for c in batch]
        await candles.write(connection, rows, source=Source.STREAM, head=True)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    for batch in batches:
        await connection.copy_records_to_table("bare", records=[(*c, "stream", c.time) for c in batch])
    copy = time.perf_counter() - started
    return BATCH * BATCHES / ours, BATCH * BATCHES / copy


def quantile(seconds: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return sorted(seconds)[int(share * (len(seconds) - 1))] * 1000


async def run() -> dict[str, Any]:
    """Measure and return the figures."""
    ours: list[float] = []
    bare: list[float] = []
    rates: list[tuple[float, float]] = []
    async with fresh_database() as settings:
        connection = await db.connect(settings, "bench")
        await connection.execute(_BARE)
        for n in range(ROUNDS):
            ours += await frame_to_commit(settings, n * 1000)
            bare += await bare_insert(connection, n * 1000)
            rates.append(await throughput(connection, n))
            await connection.execute("TRUNCATE candles_1m, bare")
            print(f"round {n + 1} of {ROUNDS}", file=sys.stderr)
        kind = await connection.fetchval(
            "SELECT server_kind() || ', PostgreSQL ' || current_setting('server_version')"
        )
        await connection.close()
    ratios = [ours_rate / copy_rate for ours_rate, copy_rate in rates]
    return {
        "server": kind,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "latency_ms": {
            "frame_to_commit": {"p50": quantile(ours, 0.5), "p99": quantile(ours, 0.99)},
            "bare_insert": {"p50": quantile(bare, 0.5), "p99": quantile(bare, 0.99)},
            "ratio": {
                "p50": quantile(ours, 0.5) / quantile(bare, 0.5),
                "p99": quantile(ours, 0.99) / quantile(bare, 0.99),
            },
        },
        "rows_per_second": {
            "writer": statistics.median(ours for ours, _ in rates),
            "copy": statistics.median(copy for _, copy in rates),
            "ratio": statistics.median(ratios),
            "ratio_spread": [min(ratios), max(ratios)],
        },
    }


if __name__ == "__main__":
    import logging

    logging.disable(logging.INFO)
    print(json.dumps(uvloop.run(run()), indent=2))

"""The whole market's minute: ``python -m benchmarks.market_minute``.

1,500 symbols close within one second, bookTicker frames for all of them all the while, over websockets from a
process of its own; the feeder's streams, writer and feature task beside each other in one event loop, a day's
window of every symbol in the database before the first minute. From the last final frame sent to the last
commit, beside a bare COPY of the same rows.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np
import uvloop
from numpy.typing import NDArray
from tests.features.samples import START

from benchmarks.feature_counts import by_features
from benchmarks.harness import Curve, Options, Report, Result, Target
from benchmarks.market_exchange import HEAD, HISTORY, PATHS, exchange, names, paths
from benchmarks.market_feeder import Watched, feeder, reconnects
from benchmarks.report import main
from benchmarks.server import described, fresh_database
from data_feeder.__main__ import SWITCH_SECONDS
from marketdata import database as db
from marketdata.copyframe import HEADER, POSTGRES_EPOCH_MS, TRAILER
from marketdata.database import Connection
from marketdata.features import MAX_WINDOW, NAMES, compute
from marketdata.features.registry import FEATURE_VERSION
from marketdata.models import MINUTE_MS
from marketdata.store import features as store

MARKET: Final = 1_500
MINUTES: Final = 12
PACE_SECONDS: Final = 5.0
"""From the first final frame of a minute to that of the next."""
BURST_SECONDS: Final = 1.0
QUOTES_PER_SECOND: Final = 20_000
_BARE: Final = """
CREATE TABLE bare_candles (LIKE candles_1m); ALTER TABLE bare_candles ADD PRIMARY KEY (symbol, time);
CREATE TABLE bare_rows (LIKE feature_values); ALTER TABLE bare_rows ADD PRIMARY KEY (symbol, time)
"""


async def history(connection: Connection, symbols: list[str]) -> None:
    """Store a window's minutes of every symbol, and its newest row, so that nothing is owed."""
    market = paths(0)

    def copied(symbol: str, table: NDArray[np.float64]) -> bytes:
        flows = [(f"v{i}", ">f8") for i in range(1, 10) if i != 7]
        fields = [
            ("symbol", f"S{len(symbol)}"), ("time", ">i8"), *flows[:6], ("trades", ">i8"), *flows[6:],
            ("source", "S4"), ("known", ">i8"),
        ]  # fmt: skip
        sized = [part for name, kind in fields for part in ((f"n_{name}", ">i4"), (name, kind))]
        out = np.zeros(HISTORY, dtype=[("fields", ">i2"), *sized])
        out["fields"] = len(fields)
        for name, kind in fields:
            out[f"n_{name}"] = np.dtype(kind).itemsize
        times = (table[:HISTORY, 0].astype(np.int64) - POSTGRES_EPOCH_MS) * 1000
        out["symbol"], out["source"] = symbol.encode(), b"rest"
        out["time"], out["known"] = times, times + MINUTE_MS * 1000
        out["trades"] = table[:HISTORY, 7]
        for name, _ in flows:
            out[name] = table[:HISTORY, int(name[1:])]
        return out.tobytes()

    async def source() -> AsyncIterator[bytes]:
        yield HEADER
        for place, symbol in enumerate(symbols):
            yield copied(symbol, market[place % PATHS])
        yield TRAILER

    await connection.copy_to_table("candles_1m", source=source(), format="binary")
    await connection.execute(
        "INSERT INTO feature_values"
        " SELECT symbol, $1, $2, array_fill(null::float8, ARRAY[$3::integer]), 1, $1"
        " FROM unnest($4::text[]) AS s (symbol)",
        HEAD + MINUTE_MS, FEATURE_VERSION, len(NAMES), symbols,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO symbols (symbol, status, history_start)"
        " SELECT s, 'TRADING', $2 FROM unnest($1::text[]) AS s",
        symbols, START,
    )  # fmt: skip
    await connection.execute("SELECT advance_market_clock($1)", HEAD + MINUTE_MS)
    await connection.execute("ANALYZE candles_1m; ANALYZE feature_values")


async def bare(connection: Connection, symbols: list[str], n: int) -> float:
    """Seconds of a COPY of a minute's candles and one of its rows, to tables with nothing but the key."""
    t = HEAD + (n + 1) * MINUTE_MS
    table = paths(0)[0]
    numbers = table[HISTORY - 1].tolist()
    values = np.random.default_rng(n).random((len(symbols), len(NAMES))).tolist()
    candles = [(s, t, *numbers[1:7], int(numbers[7]), *numbers[8:], "stream", t) for s in symbols]
    made = [(s, t, FEATURE_VERSION, v, 1.0, t) for s, v in zip(symbols, values, strict=True)]
    started = time.monotonic()
    await connection.copy_records_to_table("bare_candles", records=candles)
    await connection.copy_records_to_table("bare_rows", records=made)
    return time.monotonic() - started


async def measure(count: int, minutes: int, quotes: float, pace: float) -> dict[str, Any]:
    """Run so many minutes of so many symbols; milliseconds of each."""
    symbols, watched = names(count), Watched(count)
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(
        target=exchange, args=(theirs, symbols, minutes, quotes, BURST_SECONDS), daemon=True
    )
    answer = asyncio.get_running_loop().run_in_executor
    found: dict[str, list[float]] = {}
    async with fresh_database() as settings:
        connection = await db.connect(settings, "bench")
        await connection.execute(_BARE)
        started = time.monotonic()
        await history(connection, symbols)
        print(f"{count} symbols: history in {time.monotonic() - started:.0f} s", file=sys.stderr)
        other.start()
        port = await answer(None, ours.recv)
        began, lost = time.monotonic(), reconnects()
        async with feeder(settings, symbols, port, watched) as task:
            await answer(None, ours.recv)
            while not task.warm:  # noqa: ASYNC110 - what is measured has no bell to ring
                await asyncio.sleep(0.05)
            warm = time.monotonic() - began
            await asyncio.sleep(1.0)
            for n in range(minutes):
                watched.begin()
                ours.send(n)
                cpu = time.process_time()
                started, last = await answer(None, ours.recv)
                await watched.end()
                took = {
                    "taken_in": watched.came - last,
                    "candles": watched.candles - last,
                    "rows": watched.rows - last,
                    "lag": watched.lag,
                    "cpu": time.process_time() - cpu,
                    "burst": last - started,
                }
                for name, value in took.items():
                    found.setdefault(name, []).append(1000 * value)
                print(
                    f"minute {n + 1} of {minutes}: "
                    + ", ".join(f"{name} {1000 * value:.0f}" for name, value in took.items()),
                    file=sys.stderr,
                )
                found.setdefault("bare", []).append(1000 * await bare(connection, symbols, n))
                await asyncio.sleep(max(0.0, started + pace - time.monotonic()))
            board = task.board_bytes
            ended = reconnects() - lost
        ours.send(None)
        right = await _equal_to_batch(connection, symbols, minutes)
        kind = await described(connection)
        await connection.close()
    other.join(10)
    return {"found": found, "warm": warm, "board": board, "ended": ended, "right": right, "server": kind}


async def _equal_to_batch(connection: Connection, symbols: list[str], minutes: int) -> bool:
    """Whether the live rows of a few symbols are the batch's."""
    end = HEAD + (minutes + 1) * MINUTE_MS
    for symbol in (symbols[0], symbols[len(symbols) // 2], symbols[-1]):
        window = await store.load_window(connection, symbol, START, end)
        batch = compute(window, minutes)
        records = await connection.fetch(
            "SELECT values FROM feature_values WHERE symbol = $1 AND time > $2 ORDER BY time",
            symbol,
            HEAD + MINUTE_MS,
        )
        live = np.array([[np.nan if v is None else v for v in r["values"]] for r in records])
        if live.shape != batch.values.shape or not np.allclose(
            live, batch.values, rtol=0, atol=1e-9, equal_nan=True
        ):
            return False
    return True


def slope(points: list[tuple[float, list[float]]]) -> str:
    """Milliseconds more for each thousand (or ten) more, between the last two points."""
    (x, low), (y, high) = points[-2:]
    return (
        f"{(statistics.median(high) - statistics.median(low)) / (y - x):.3f} ms for each one more at the end"
    )


def _apart(count: int, minutes: int, quotes: float, pace: float) -> dict[str, Any]:
    """``measure`` in a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer: dict[str, Any] = pool.apply(_measured, (count, minutes, quotes, pace))
    return answer


def _measured(count: int, minutes: int, quotes: float, pace: float) -> dict[str, Any]:
    logging.disable(logging.INFO)
    # As the service does at its start.
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    before = _resident()
    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    answer = uvloop.run(measure(count, minutes, quotes, pace))
    return {**answer, "imports": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def run(options: Options) -> Report:
    """Measure and report."""
    minutes = options.rounds or (3 if options.quick else MINUTES)
    market, quotes, pace = (30, 2_000.0, 1.5) if options.quick else (MARKET, QUOTES_PER_SECOND, PACE_SECONDS)
    report = Report()
    points = []
    for count in (1, 10, market) if options.quick else (1, 10, 50, 150, 500, market):
        whole = _apart(
            count,
            minutes if count == market else min(minutes, 5),
            quotes * count / market,
            pace if count == market else min(pace, 2.0),
        )
        points.append((float(count), whole["found"]["rows"][1:]))
    found = whole["found"]
    steady = {name: values[1:] for name, values in found.items()}
    second = Target("<=", 1_000.0)
    report.results += [
        Result(f"{market} symbols: last frame to all candles", "ms", steady["candles"], target=second),
        Result(f"{market} symbols: last frame to all rows", "ms", steady["rows"], target=second),
        Result("the same, the first minute after the start", "ms", found["rows"][:1], target=second),
        Result("last frame to all rows, in COPYs", "ms", steady["rows"], steady["bare"], "bare COPY"),
        Result("last frame sent to taken in", "ms", steady["taken_in"]),
        Result("largest turn of the event loop", "ms", steady["lag"]),
        Result("connections that ended", "count", [whole["ended"]], target=Target("<=", 0.0)),
        Result(
            "most resident memory beyond imports", "MB", [(whole["peak"] - whole["imports"]) / 1e6],
            [market * MAX_WINDOW * 12 * 8 / 1e6], "bytes of the feature windows", Target("<=", 1.5),
        ),
    ]  # fmt: skip
    month = 3_000 if options.quick else 30 * 1440
    live, batch = by_features(1 if options.quick else 5, market if options.quick else 500, month)
    report.curves += [
        Curve("a minute by symbols", "symbols", "ms from the last frame to all rows", points, slope(points)),
        Curve("a live minute by features", "features", "ms of CPU for 500 symbols", live, slope(live)),
        Curve("a month by features", "features", "ms of CPU for a symbol's month", batch, slope(batch)),
    ]
    report.facts = {
        "server": whole["server"],
        "symbols": market,
        "features": len(NAMES),
        "minutes": minutes,
        "quotes_per_second": quotes,
        "burst_seconds": BURST_SECONDS,
        "warm_up_seconds": round(whole["warm"], 2),
        "board_mb": round(whole["board"] / 1e6, 1),
        "rows_equal_to_batch": whole["right"],
        "cpu_ms_a_minute": round(statistics.median(steady["cpu"])),
    }
    return report


if __name__ == "__main__":
    sys.exit(main(run))

"""The benchmarks of feature rows that need a database: a live minute, and reading."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
from tests.features.samples import START, rows, seeded

from benchmarks.harness import figures
from benchmarks.market_exchange import final
from benchmarks.server import described, fresh_database
from data_feeder.buffer import Buffer, Item
from data_feeder.features import FeatureTask
from data_feeder.ingest import Ingest
from data_feeder.writer import Writer
from marketdata import database as db
from marketdata.clock import MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.features import MAX_WINDOW, NAMES, Columns, compute
from marketdata.features.engine import Result, compute_instant
from marketdata.features.registry import FEATURE_VERSION
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import features as store

SYMBOLS: Final = ("BTCUSDT", *(f"S{n:03}USDT" for n in range(1, 500)))
HISTORY: Final = MAX_WINDOW + 1
MINUTES: Final = 12
ROUNDS: Final = 9
HEAD: Final = START + (HISTORY - 1) * MINUTE_MS
_BARE: Final = "CREATE TABLE bare (LIKE feature_values); ALTER TABLE bare ADD PRIMARY KEY (symbol, time)"


def _market() -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Seeded candles of every symbol: its history and the live minutes."""
    return {symbol: rows(HISTORY + MINUTES, seed) for seed, symbol in enumerate(SYMBOLS, start=1)}


async def _load(connection: Connection, market: dict[str, Any]) -> None:
    for symbol, table in market.items():
        records = [
            (symbol, int(row[0]), *row[1:7], int(row[7]), *row[8:], "rest", int(row[0]) + MINUTE_MS)
            for row in table[:HISTORY].tolist()
        ]
        await connection.copy_records_to_table("candles_1m", records=records)
    await connection.execute("ANALYZE candles_1m")


class _Timed:
    """How long each call of a function took since the last ``take``."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call
        self._seconds = 0.0

    async def __call__(self, *args: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return await self._call(*args, **named)
        finally:
            self._seconds += time.perf_counter() - started

    def take(self) -> float:
        taken, self._seconds = self._seconds, 0.0
        return taken


async def _minutes(settings: DatabaseSettings, market: dict[str, Any]) -> list[dict[str, float]]:
    """Seconds of each live minute, the first of which loads the windows."""
    clock, exchange, buffer = SystemClock(), MarketClock(), Buffer()
    exchange.advance(HEAD + MINUTE_MS)
    task = FeatureTask(settings, exchange, clock, SYMBOLS)
    ingest = Ingest(SYMBOLS, HEAD, buffer, exchange, clock)
    committed_at = 0.0

    def on_commit(batch: list[Item], *rest: Any) -> None:
        nonlocal committed_at
        committed_at = time.perf_counter()
        task.offer(batch, *rest)

    writer = Writer(
        settings, buffer, exchange, clock, symbols=SYMBOLS, head=HEAD, batch_max_rows=5000,
        on_commit=on_commit, on_gaps=lambda gaps: None,
    )  # fmt: skip
    insert, thread = _Timed(store.insert), _Timed(task._computer._beside)
    setattr(store, "insert", insert)  # noqa: B010 - neither is a function any more
    setattr(task._computer, "_beside", thread)  # noqa: B010
    running = [asyncio.create_task(writer.run()), asyncio.create_task(task.run())]
    try:
        taken = []
        for minute in range(MINUTES):
            frames = [final(symbol, table[HISTORY + minute]) for symbol, table in market.items()]
            await asyncio.sleep(0.3)
            insert.take(), thread.take()
            burst = time.perf_counter()
            for raw in frames:
                await ingest.frame(raw)
            last = time.perf_counter()
            async with asyncio.timeout(300):
                # From outside: what is measured has no bell to ring.
                while task.rows_written < (minute + 1) * len(SYMBOLS):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            done = time.perf_counter()
            taken.append(
                {
                    "last_frame_to_all_rows": done - last,
                    "burst_of_frames": last - burst,
                    "last_candle_to_all_rows": done - committed_at,
                    "compute": thread.take(),
                    "insert": insert.take(),
                }
            )
            print(f"minute {minute + 1} of {MINUTES}", file=sys.stderr)
        return taken
    finally:
        setattr(store, "insert", insert._call)  # noqa: B010
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _instant(market: dict[str, Any]) -> Columns:
    """The windows of the newest live minute, as (symbols, minutes)."""
    start, end = START + MINUTES * MINUTE_MS, START + (HISTORY + MINUTES) * MINUTE_MS
    each = [Columns.from_rows(start, end, table[MINUTES:]) for table in market.values()]
    return Columns.stack([one.beside(each[0]) for one in each])


async def _writes(connection: Connection, result: Result) -> dict[str, list[float]]:
    """Seconds of ways to write the same rows: the store's own, a bare COPY, and others."""
    await connection.execute(_BARE)
    names, version = list(SYMBOLS), FEATURE_VERSION
    taken: dict[str, list[float]] = {}
    for n in range(ROUNDS):
        instant = int(result.time[0]) + (n + 1) * MINUTE_MS
        later = result.time + (n + 1) * MINUTE_MS
        moved = Result(later, result.values, result.window_coverage, result.emit)
        one_by_one = [
            (name, Result(later[i : i + 1], result.values[i : i + 1], result.window_coverage[i : i + 1],
                          result.emit[i : i + 1]))
            for i, name in enumerate(names)
        ]  # fmt: skip

        def records(
            moved: Result = moved, instant: int = instant
        ) -> list[tuple[str, int, int, list[float | None], float, int]]:
            nulls = np.where(np.isnan(moved.values), np.array(None), moved.values).tolist()
            coverage = moved.window_coverage.tolist()
            return [
                (name, instant, version, values, share, instant)
                for name, values, share in zip(names, nulls, coverage, strict=True)
            ]

        async def copied(table: str, make: Callable[[], Any] = records) -> None:
            await connection.copy_records_to_table(table, records=make())

        async def staged(make: Callable[[], Any] = records) -> None:
            await connection.execute("CREATE TEMP TABLE IF NOT EXISTS staged (LIKE feature_values)")
            async with connection.transaction():
                await connection.copy_records_to_table("staged", records=make(), schema_name="pg_temp")
                await connection.execute("INSERT INTO bare SELECT * FROM staged ON CONFLICT DO NOTHING")
                await connection.execute("TRUNCATE staged")

        async def each(make: Callable[[], Any] = records) -> None:
            await connection.executemany(
                "INSERT INTO bare VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING", make()
            )

        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "store.insert": lambda rows=one_by_one, t=instant: store.insert(connection, rows, known_at=t),  # type: ignore[misc]
            "bare COPY": lambda: copied("bare"),
            "COPY, then INSERT of it": staged,
            "a statement a row": each,
        }
        for name, way in ways.items():
            await connection.execute("TRUNCATE bare")
            started = time.perf_counter()
            await way()
            taken.setdefault(name, []).append(time.perf_counter() - started)
    return taken


async def live() -> dict[str, Any]:
    """A minute of 500 symbols, from frames to committed rows."""
    market = _market()
    async with fresh_database() as settings:
        connection = await db.connect(settings, "bench")
        kind = await described(connection)
        await _load(connection, market)
        minutes = await _minutes(settings, market)
        written = await connection.fetchval("SELECT count(*) FROM feature_values")
        columns = _instant(market)
        instants = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            result = compute_instant(columns)
            instants.append(time.perf_counter() - started)
        writes = await _writes(connection, result)
        await connection.close()
    first, steady = minutes[0], minutes[1:]
    return {
        "server": kind,
        "symbols": len(SYMBOLS),
        "features": len(NAMES),
        "rows_expected_and_written": [len(SYMBOLS) * MINUTES, written],
        "first_minute_ms": {name: round(1000 * value, 1) for name, value in first.items()},
        "minute_ms": {name: figures([1000 * one[name] for one in steady]) for name in first},
        "compute_instant_ms": figures([1000 * value for value in instants]),
        "write_ms": {name: figures([1000 * value for value in times]) for name, times in writes.items()},
    }


_BY_KEY: Final = "WHERE symbol = $1 AND time = $2"
_BY_DAY: Final = "WHERE symbol = $1 AND time >= $2 AND time < $3 ORDER BY time"
_LOOKUPS: Final = {
    "row": {
        "feature_values, primary key": f"SELECT * FROM feature_values {_BY_KEY}",
        "feature_cache.features_json": f"SELECT features_json FROM feature_cache {_BY_KEY}",
        "feature_matrix": f"SELECT * FROM feature_matrix {_BY_KEY}",
    },
    "day": {
        "feature_values, primary key": f"SELECT * FROM feature_values {_BY_DAY}",
        "feature_cache.features_json": f"SELECT features_json FROM feature_cache {_BY_DAY}",
        "feature_matrix": f"SELECT * FROM feature_matrix {_BY_DAY}",
    },
}
_LOOKUP_SYMBOLS: Final = 20
_DAY: Final = 1440


async def lookup() -> dict[str, Any]:
    """One row by its key, and a day of one symbol, by each view and from the table itself."""
    columns = seeded(MAX_WINDOW + _DAY)
    result = compute(columns, last=_DAY)
    instants = result.time.tolist()
    random = np.random.default_rng(1)
    taken: dict[str, dict[str, list[float]]] = {what: {n: [] for n in q} for what, q in _LOOKUPS.items()}
    async with fresh_database() as settings:
        connection = await db.connect(settings, "bench")
        kind = await described(connection)
        for symbol in SYMBOLS[:_LOOKUP_SYMBOLS]:
            await store.insert(connection, [(symbol, result)], known_at=instants[-1])
        await connection.execute("VACUUM ANALYZE feature_values")
        prepared = {w: {n: await connection.prepare(q) for n, q in qs.items()} for w, qs in _LOOKUPS.items()}
        for n in range(30 * ROUNDS):
            symbol = SYMBOLS[int(random.integers(_LOOKUP_SYMBOLS))]
            arguments = {
                "row": (symbol, instants[int(random.integers(_DAY))]),
                "day": (symbol, instants[0], instants[-1] + MINUTE_MS),
            }
            for what, statements in prepared.items():
                if what == "day" and n % 30:
                    continue
                for name, statement in statements.items():
                    started = time.perf_counter()
                    found = await statement.fetch(*arguments[what])
                    taken[what][name].append(time.perf_counter() - started)
                    assert len(found) == (1 if what == "row" else _DAY)
        await connection.close()
    answer: dict[str, Any] = {"server": kind, "features": len(NAMES)}
    for what, times in taken.items():
        bare = statistics.median(times["feature_values, primary key"])
        answer[what] = {
            name: {**figures([1000 * one for one in each]), "ratio": round(statistics.median(each) / bare, 2)}
            for name, each in times.items()
        }
    return answer

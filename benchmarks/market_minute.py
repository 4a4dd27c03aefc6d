"""The whole market's minute: ``python -m benchmarks.market_minute``.

1,500 symbols close within one second, bookTicker frames for all of them all the while, over websockets from a
process of its own; the feeder's streams, writer and feature task beside each other in one event loop, a day's
window of every symbol in the database before the first minute. From the last final frame sent to the last
commit, beside a bare COPY of the same rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import numpy as np
import orjson
import uvloop
import websockets
from numpy.typing import NDArray
from tests.features.samples import START, rows, seeded
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.harness import Curve, Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.server import described, fresh_database
from data_feeder import connections
from data_feeder.__main__ import SWITCH_SECONDS
from data_feeder.buffer import Buffer, Item
from data_feeder.features import FeatureTask
from data_feeder.ingest import Ingest
from data_feeder.session import Patience
from data_feeder.stream import Stream
from data_feeder.writer import Writer
from marketdata import database as db
from marketdata import metrics
from marketdata.clock import MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.features import MAX_WINDOW, NAMES, Columns, compute, engine
from marketdata.features.engine import compute_instant
from marketdata.features.registry import ACTIVE, FEATURE_VERSION
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import features as store

MARKET: Final = 1_500
MINUTES: Final = 12
PACE_SECONDS: Final = 5.0
"""From the first final frame of a minute to that of the next."""
BURST_SECONDS: Final = 1.0
QUOTES_PER_SECOND: Final = 20_000
HISTORY: Final = MAX_WINDOW
HEAD: Final = START + (HISTORY - 1) * MINUTE_MS
_TICK: Final = 0.005
_POSTGRES_EPOCH_MS: Final = 946_684_800_000
_PATHS: Final = 40
"""Different seeded price paths; more would take longer to draw than to measure."""
_BARE: Final = """
CREATE TABLE bare_candles (LIKE candles_1m); ALTER TABLE bare_candles ADD PRIMARY KEY (symbol, time);
CREATE TABLE bare_rows (LIKE feature_values); ALTER TABLE bare_rows ADD PRIMARY KEY (symbol, time)
"""


def names(count: int) -> list[str]:
    """The reference and others."""
    return ["BTCUSDT", *(f"S{n:04}USDT" for n in range(1, count))]


def paths(minutes: int) -> list[NDArray[np.float64]]:
    """Seeded candles, from the history's first minute on."""
    return [rows(HISTORY + minutes, seed) for seed in range(1, _PATHS + 1)]


# The exchange: a process of its own.


def _frame(payload: bytes) -> bytes:
    """A websocket text frame as a server sends it, shorter than 64 kB."""
    n = len(payload)
    return bytes((0x81, n) if n < 126 else (0x81, 126, n >> 8, n & 255)) + payload


def _final(symbol: str, row: NDArray[np.float64]) -> bytes:
    t = int(row[0])
    keys = ("o", "h", "l", "c", "v", "q", "n", "V", "Q")
    numbers = {key: repr(float(value)) for key, value in zip(keys, row[1:], strict=True)}
    k = {**numbers, "n": int(row[7]), "t": t, "T": t + 59_999, "s": symbol, "i": "1m", "x": True}
    data = {"e": "kline", "E": t + 60_019, "s": symbol, "k": {**k, "f": 1, "L": 1, "B": "0"}}
    return _frame(orjson.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data}))


def _quote(symbol: str, n: int) -> bytes:
    data = {"u": n, "s": symbol, "b": "100.01", "B": f"{1 + n % 7}.5", "a": "100.02", "A": "2.25"}
    return _frame(orjson.dumps({"stream": f"{symbol.lower()}@bookTicker", "data": data}))


class _Exchange:
    """Sends quotes all the while, and a minute's final frames when told to."""

    def __init__(self, symbols: list[str], minutes: int) -> None:
        self._minutes = paths(minutes)
        self._symbols = symbols
        self._sockets: dict[str, ServerConnection] = {}
        self._quotes = {symbol: [_quote(symbol, n) for n in range(2)] for symbol in symbols}

    async def serve(self, socket: ServerConnection) -> None:
        """Take note of what a connection subscribes to, until it ends."""
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                for name in orjson.loads(message)["params"]:
                    self._sockets[name.split("@")[0].upper()] = socket

    def ready(self) -> bool:
        """Whether every symbol was subscribed to."""
        return len(self._sockets) == len(self._symbols)

    def send(self, frames: list[tuple[str, bytes]]) -> None:
        by_socket: dict[ServerConnection, list[bytes]] = {}
        for symbol, frame in frames:
            by_socket.setdefault(self._sockets[symbol], []).append(frame)
        for socket, those in by_socket.items():
            socket.transport.write(b"".join(those))

    async def quotes(self, rate: float) -> None:
        """Send so many a second, in turns."""
        sent, started = 0, time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            due = int((time.monotonic() - started) * rate)
            due, late = min(due, sent + 2_000), due
            count = len(self._symbols)
            self.send(
                [
                    (s, self._quotes[s][k // count % 2])
                    for k in range(sent, due)
                    if (s := self._symbols[k % count])
                ]
            )
            sent = late

    async def minute(self, n: int, seconds: float) -> tuple[float, float]:
        """Send a minute's final frames in a random order; return when the first and the last went."""
        order = np.random.default_rng(n).permutation(len(self._symbols)).tolist()
        frames = [
            (self._symbols[i], _final(self._symbols[i], self._minutes[i % _PATHS][HISTORY + n]))
            for i in order
        ]
        started, sent, now = time.monotonic(), 0, 0.0
        while sent < len(frames):
            due = max(1, min(len(frames), int((time.monotonic() - started) / seconds * len(frames))))
            now = time.monotonic()
            self.send(frames[sent:due])
            sent = due
            if sent < len(frames):
                await asyncio.sleep(_TICK)
        return started, now


def exchange(pipe: Pipe, symbols: list[str], minutes: int, quotes: float, seconds: float) -> None:
    """Serve until the pipe ends; each message on it is a minute's number, the answer two times."""

    async def run() -> None:
        market = _Exchange(symbols, minutes)
        loop = asyncio.get_running_loop()
        async with serve(market.serve, "127.0.0.1", 0, compression=None, ping_interval=5) as server:
            pipe.send(next(iter(server.sockets)).getsockname()[1])
            while not market.ready():  # noqa: ASYNC110 - what is measured must not wait for us
                await asyncio.sleep(0.05)
            pipe.send("ready")
            sending = asyncio.create_task(market.quotes(quotes))
            while (n := await loop.run_in_executor(None, pipe.recv)) is not None:
                pipe.send(await market.minute(n, seconds))
            sending.cancel()

    uvloop.run(run())


# The database before the first minute.


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
        times = (table[:HISTORY, 0].astype(np.int64) - _POSTGRES_EPOCH_MS) * 1000
        out["symbol"], out["source"] = symbol.encode(), b"rest"
        out["time"], out["known"] = times, times + MINUTE_MS * 1000
        out["trades"] = table[:HISTORY, 7]
        for name, _ in flows:
            out[name] = table[:HISTORY, int(name[1:])]
        return out.tobytes()

    async def source() -> AsyncIterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
        for place, symbol in enumerate(symbols):
            yield copied(symbol, market[place % _PATHS])
        yield b"\xff\xff"

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


# The feeder's parts, as its service puts them together.


class _Watched:
    """When a minute's candles came, were committed, and its rows were; and how long the loop was held."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.came = self.candles = self.rows = 0.0
        self._due = self._rows_due = self._finals_due = 0
        self._done = asyncio.Event()
        self.lag = 0.0

    def begin(self) -> None:
        self._due = self._rows_due = self._finals_due = self._count
        self._done.clear()
        self.lag = 0.0

    def final(self) -> None:
        self._finals_due -= 1
        self.came = time.monotonic()

    def committed(self, heads: int) -> None:
        self._due -= heads
        if heads:
            self.candles = time.monotonic()

    def written(self, rows: int) -> None:
        self._rows_due -= rows
        self.rows = time.monotonic()
        if self._rows_due <= 0:
            self._done.set()

    async def end(self) -> None:
        async with asyncio.timeout(300):
            await self._done.wait()

    async def watch(self) -> None:
        """Ask to be woken after two milliseconds, for ever."""
        while True:
            asked = time.monotonic()
            await asyncio.sleep(0.002)
            self.lag = max(self.lag, time.monotonic() - asked - 0.002)


@asynccontextmanager
async def feeder(
    settings: DatabaseSettings, symbols: list[str], port: int, watched: _Watched
) -> AsyncIterator[FeatureTask]:
    """Run streams, writer and features until the block ends."""
    clock, market = SystemClock(), MarketClock()
    market.advance(HEAD + MINUTE_MS)
    task = FeatureTask(settings, market, clock, symbols)
    inserted = store.insert

    async def insert(*args: Any, **named: Any) -> int:
        written = await inserted(*args, **named)
        watched.written(written)
        return written

    class Buffered(Buffer):
        async def put(self, item: Item) -> None:
            watched.final()
            await super().put(item)

    def on_commit(batch: list[Item], *rest: Any) -> None:
        watched.committed(sum(item.is_head for item in batch))
        task.offer(batch, *rest)

    buffer = Buffered()
    ingest = Ingest(symbols, HEAD, buffer, market, clock)
    writer = Writer(
        settings, buffer, market, clock, symbols=symbols, head=HEAD, batch_max_rows=5000,
        on_commit=on_commit, on_gaps=lambda gaps: None,
    )  # fmt: skip
    streams = [
        Stream(
            [f"ws://127.0.0.1:{port}"],
            part,
            ingest,
            clock,
            Patience(),
            on_disconnect=lambda url, reason: print(f"disconnected: {reason}", file=sys.stderr),
            on_failover=lambda failover: None,
        )
        for part in connections.plan(symbols)
    ]
    setattr(store, "insert", insert)  # noqa: B010 - its signature is wider
    runs = [asyncio.create_task(one) for one in (writer.run(), task.run(), watched.watch())]
    runs += [asyncio.create_task(stream.run()) for stream in streams]
    try:
        yield task
    finally:
        store.insert = inserted
        for one in runs:
            one.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


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


def reconnects() -> float:
    """How many connections ended since the process began."""
    return sum(
        s.value
        for m in metrics.WEBSOCKET_RECONNECTS.collect()
        for s in m.samples
        if s.name.endswith("_total")
    )


async def measure(count: int, minutes: int, quotes: float, pace: float) -> dict[str, Any]:
    """Run so many minutes of so many symbols; milliseconds of each."""
    symbols, watched = names(count), _Watched(count)
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


def by_features(rounds: int, symbols: int, month: int) -> tuple[list[Any], list[Any]]:
    """Milliseconds of a minute of ``symbols`` and of ``month`` minutes, by the number of features."""
    one = [seeded(MAX_WINDOW, seed) for seed in range(1, 9)]
    stacked = Columns.stack([one[i % len(one)] for i in range(symbols)])
    live = Columns(stacked.time, *(np.asfortranarray(getattr(stacked, name)) for name in _FIELDS[1:]))
    batch = seeded(month)
    minutes: list[Any] = []
    months: list[Any] = []
    try:
        for count in (1, 10, 25, 50, len(ACTIVE)):
            setattr(engine, "ACTIVE", ACTIVE[:count])  # noqa: B010 - it is final for all others
            calls: tuple[tuple[list[Any], Callable[[], Any]], ...] = (
                (minutes, lambda: compute_instant(live)),
                (months, lambda: compute(batch)),
            )
            for points, call in calls:
                taken = []
                for _ in range(rounds + 1):
                    started = time.process_time()
                    call()
                    taken.append(1000 * (time.process_time() - started))
                points.append((count, taken[1:]))
    finally:
        setattr(engine, "ACTIVE", ACTIVE)  # noqa: B010
    return minutes, months


_FIELDS: Final = [name for name in Columns.__dataclass_fields__ if not name.startswith("_")]


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
    sys.setswitchinterval(SWITCH_SECONDS)
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

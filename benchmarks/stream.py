"""WebSocket frames to committed candles, sustained, one feeder: ``python -m benchmarks.stream``.

A process of its own sends pre-encoded final kline frames as fast as the socket takes them; ours reads,
checks, orders and commits every one (``Session``, ``Ingest``, ``Buffer``, ``Writer``). Two floors over the
same candles, in turns with it: ``websockets``' own reader with ``orjson`` and ``float`` and no database,
and a bare ``UNNEST`` upsert of columns that are ready, into a table like ``candles_1m`` with its primary
key and nothing else. The figure is ours beside the slower of the two.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import orjson
import uvloop
from websockets.asyncio.client import connect

from benchmarks.harness import Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.sender import T0, Market, messages, sending
from benchmarks.server import described, fresh_database
from data_feeder import connections
from data_feeder.buffer import Buffer, Item
from data_feeder.ingest import Ingest
from data_feeder.session import Patience, Session
from data_feeder.writer import Writer
from marketdata import database as db
from marketdata.binance.messages import decode
from marketdata.clock import MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.models import MINUTE_MS, KlineEvent
from marketdata.settings import DatabaseSettings

ROUNDS: Final = 5
BATCH: Final = 500
BARE: Final = "CREATE TABLE bare (LIKE candles_1m); ALTER TABLE bare ADD PRIMARY KEY (symbol, time)"
UPSERT: Final = """
INSERT INTO bare
SELECT symbol, to_timestamp(time / 1000.0), open, high, low, close, volume, quote_volume, trades,
       taker_buy_volume, taker_buy_quote_volume, 'stream', to_timestamp(known_at / 1000.0)
FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
            $8::float8[], $9::bigint[], $10::float8[], $11::float8[], $12::bigint[])
     AS i (symbol, time, open, high, low, close, volume, quote_volume, trades,
           taker_buy_volume, taker_buy_quote_volume, known_at)
ON CONFLICT (symbol, time) DO UPDATE SET
    open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
    volume = EXCLUDED.volume, quote_volume = EXCLUDED.quote_volume, trades = EXCLUDED.trades,
    taker_buy_volume = EXCLUDED.taker_buy_volume, taker_buy_quote_volume = EXCLUDED.taker_buy_quote_volume,
    source = EXCLUDED.source, known_at = EXCLUDED.known_at
"""


class Taken(NamedTuple):
    """What one run of a feeder did: seconds from the first frame to the last commit."""

    candles: int
    seconds: float
    cpu_seconds: float
    """This process's, reading and writing both."""

    @property
    def rate(self) -> float:
        """Candles a second."""
        return self.candles / self.seconds


async def feeder(
    settings: DatabaseSettings,
    market: Market,
    url: str,
    on_commit: Callable[[list[Item]], None] | None = None,
) -> Taken:
    """Read all of ``market`` from ``url`` and commit every candle; ``on_commit`` is told of each batch."""
    clock, exchange, buffer = SystemClock(), MarketClock(), Buffer()
    exchange.advance(T0)
    head = T0 - MINUTE_MS
    ingest = Ingest(market.names, head, buffer, exchange, clock)
    missing, done = market.candles, asyncio.Event()

    def committed(batch: list[Item], *_: Any) -> None:
        nonlocal missing
        missing -= len(batch)
        if on_commit is not None:
            on_commit(batch)
        if missing <= 0:
            done.set()

    writer = Writer(
        settings, buffer, exchange, clock, symbols=market.names, head=head, batch_max_rows=BATCH,
        on_commit=committed, on_gaps=lambda gaps: None,
    )  # fmt: skip
    writing = asyncio.create_task(writer.run())
    while not writer.connected:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    sampling = asyncio.create_task(_sample(ingest))
    session = Session(url, market.names, ingest, clock, Patience(), lambda session: None)
    cpu = time.process_time()
    reading = asyncio.create_task(session.run())
    await asyncio.wait({reading, asyncio.create_task(done.wait())}, return_when=asyncio.FIRST_COMPLETED)
    ended = time.monotonic()
    cpu = time.process_time() - cpu
    for task in (reading, writing, sampling):
        task.cancel()
    await asyncio.gather(reading, writing, sampling, return_exceptions=True)
    if missing:
        raise RuntimeError(f"{missing} candles were not committed")
    return Taken(market.candles, ended - session.delivering_since, cpu)


async def _sample(ingest: Ingest) -> None:
    while True:
        await asyncio.sleep(1)
        ingest.book.sample()


async def plain_reader(market: Market, url: str) -> Taken:
    """The floor without a database: the library's reader, ``orjson``, and eight floats of every candle."""
    clock = time.monotonic
    left, first = market.candles, 0.0
    cpu = time.process_time()
    async with connect(f"{url}/stream", compression=None, max_queue=1024) as socket:
        await socket.send(connections.subscriptions(connections.stream_names(market.names[:1]))[0])
        await socket.recv()
        while left:
            raw = await socket.recv(decode=False)
            k = orjson.loads(raw)["data"]["k"]
            if k["x"]:
                first = first or clock()
                row = (  # noqa: F841
                    k["s"], k["t"], float(k["o"]), float(k["h"]), float(k["l"]), float(k["c"]), float(k["v"]),
                    float(k["q"]), k["n"], float(k["V"]), float(k["Q"]),
                )  # fmt: skip
                left -= 1
        ended = clock()
    cpu = time.process_time() - cpu
    return Taken(market.candles, ended - first, cpu)


async def bare_upsert(connection: Connection, batches: Sequence[Sequence[Sequence[Any]]], rows: int) -> Taken:
    """The floor of the database: columns that are ready, in batches as large as ours may be."""
    cpu = time.process_time()
    started = time.monotonic()
    for columns in batches:
        await connection.execute(UPSERT, *columns)
    ended = time.monotonic()
    cpu = time.process_time() - cpu
    return Taken(rows, ended - started, cpu)


def columns(market: Market) -> list[list[tuple[Any, ...]]]:
    """Return every candle of ``market`` as the floor writes them: batches of columns."""
    rows = []
    for message in messages(market):
        event = decode(message)
        assert isinstance(event, KlineEvent)
        rows.append((*event.candle, event.event_time))
    return [list(zip(*rows[n : n + BATCH], strict=True)) for n in range(0, len(rows), BATCH)]


async def _run(options: Options) -> Report:
    market = Market(symbols=100, minutes=200 if options.quick else 1500)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    ready = columns(market)
    ours, plain, bare = list[Taken](), list[Taken](), list[Taken]()
    async with fresh_database() as settings, sending(market) as url:
        connection = await db.connect(settings, "bench")
        await connection.execute(BARE)
        for number in range(rounds):
            plain.append(await plain_reader(market, url))
            bare.append(await bare_upsert(connection, ready, market.candles))
            ours.append(await feeder(settings, market, url))
            stored = await connection.fetchval("SELECT count(*) FROM candles_1m")
            if stored != market.candles:
                raise RuntimeError(f"{stored} candles are stored, {market.candles} were sent")
            await connection.execute("TRUNCATE candles_1m, bare, market_clock")
            print(
                f"stream {number + 1}/{rounds}: {ours[-1].rate:,.0f}/s,"
                f" reader {plain[-1].rate:,.0f}/s, upsert {bare[-1].rate:,.0f}/s,"
                f" our CPU {ours[-1].cpu_seconds / market.candles * 1e6:.1f} us a candle",
                file=sys.stderr,
            )
        kind = await described(connection)
        await connection.close()
    slower = [min(one.rate, other.rate) for one, other in zip(plain, bare, strict=True)]
    mine = [taken.rate for taken in ours]
    return Report(
        [
            Result(
                "frames to committed candles", "candles/s", mine, slower, "the slower of the two floors",
                Target(">=", 0.6),
            ),
            Result("… beside websockets, orjson and floats, no database", "candles/s", mine,
                   [taken.rate for taken in plain], "websockets + orjson + float"),
            Result("… beside a bare UNNEST upsert", "candles/s", mine, [taken.rate for taken in bare],
                   "bare UNNEST upsert"),
        ],
        facts={
            "server": kind,
            "candles": market.candles,
            "symbols": market.symbols,
            "batch_max_rows": BATCH,
            "websockets": version("websockets"),
            "cpu_us_a_candle": [round(taken.cpu_seconds / market.candles * 1e6, 2) for taken in ours],
        },
    )  # fmt: skip


def run(options: Options) -> Report:
    """Measure in turns and return the figures."""
    return uvloop.run(_run(options))


if __name__ == "__main__":
    sys.exit(main(run))

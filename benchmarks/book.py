"""bookTicker updates absorbed by one feeder on one core, candles flowing: ``python -m benchmarks.book``.

A process of its own sends 100 quotes of each of 100 symbols before each minute's final candles, as fast as
the socket takes them; ours checks and counts every quote and commits the candles and the minutes of the
book. On one core means for each second of this process's own CPU time: reading, checking and writing
together. Beside it, ``websockets``' own reader with ``orjson`` and four floats of every quote, which keeps
nothing.
"""

from __future__ import annotations

import sys
import time
from typing import Final

import orjson
import uvloop
from websockets.asyncio.client import connect

from benchmarks.harness import Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.sender import Market, sending
from benchmarks.server import described, fresh_database
from benchmarks.stream import Taken, feeder
from data_feeder import connections
from marketdata import database as db

ROUNDS: Final = 5


async def plain_reader(market: Market, url: str) -> Taken:
    """The library's reader: decode every frame and forget it."""
    left = market.updates + market.candles
    async with connect(f"{url}/stream", compression=None, max_queue=1024) as socket:
        await socket.send(connections.subscriptions(connections.stream_names(market.names[:1]))[0])
        await socket.recv()
        cpu, started = time.process_time(), time.monotonic()
        while left:
            data = orjson.loads(await socket.recv(decode=False))["data"]
            if "u" in data:
                (data["s"], float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"]))
            left -= 1
        ended, cpu = time.monotonic(), time.process_time() - cpu
    return Taken(market.updates, ended - started, cpu)


async def _run(options: Options) -> Report:
    market = Market(symbols=100, minutes=5 if options.quick else 30, kind="mixed", quotes=100)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    ours, plain = list[Taken](), list[Taken]()
    async with fresh_database() as settings, sending(market) as url:
        connection = await db.connect(settings, "bench")
        for number in range(rounds):
            plain.append(await plain_reader(market, url))
            ours.append((await feeder(settings, market, url))._replace(candles=market.updates))
            # The first minute's quotes come before any frame has said what time it is.
            counted = await connection.fetchval("SELECT sum(updates)::bigint FROM book_ticker_1m")
            if counted != market.updates - market.symbols * market.quotes:
                raise RuntimeError(f"{counted} updates are counted, {market.updates} were sent")
            await connection.execute("TRUNCATE candles_1m, book_ticker_1m, market_clock")
            print(
                f"book {number + 1}/{rounds}: {ours[-1].rate:,.0f}/s,"
                f" {ours[-1].candles / ours[-1].cpu_seconds:,.0f} a CPU second;"
                f" plain reader {plain[-1].candles / plain[-1].cpu_seconds:,.0f} a CPU second",
                file=sys.stderr,
            )
        kind = await described(connection)
        await connection.close()
    mine = [taken.candles / taken.cpu_seconds for taken in ours]
    return Report(
        [
            Result("bookTicker updates, one core", "updates/CPU s", mine, target=Target(">=", 100_000)),
            Result("… in this run's wall time", "updates/s", [taken.rate for taken in ours]),
            Result(
                "… beside websockets, orjson and floats", "updates/CPU s", mine,
                [taken.candles / taken.cpu_seconds for taken in plain], "websockets + orjson + float",
            ),
        ],
        facts={
            "server": kind, "updates": market.updates, "candles": market.candles, "symbols": market.symbols
        },
    )  # fmt: skip


def run(options: Options) -> Report:
    """Measure in turns and return the figures."""
    return uvloop.run(_run(options))


if __name__ == "__main__":
    sys.exit(main(run))

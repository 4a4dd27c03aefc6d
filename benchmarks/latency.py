"""From a closed candle's frame in hand to its commit, 1,000 a second: ``python -m benchmarks.latency``.

A process of its own sends the final frames of 1,000 symbols, evenly paced, through a real socket; the time
is from the frame in our hands to the answer of the database. In turns with it, one prepared single-row
``INSERT`` of the same candles at the same pace, into a table like ``candles_1m`` with its primary key and
nothing else; and, for information, into ``candles_1m`` itself, with its second index and its constraints.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from typing import Any, Final

import uvloop

from benchmarks.harness import Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.sender import Market, even, messages, sending
from benchmarks.server import described, fresh_database
from benchmarks.stream import BARE, feeder
from data_feeder.buffer import Item
from marketdata import database as db
from marketdata.binance.messages import decode
from marketdata.database import Connection
from marketdata.models import KlineEvent
from marketdata.settings import DatabaseSettings

ROUNDS: Final = 5
RATE: Final = 1000.0
_VALUES: Final = "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'stream', $12)"
_INSERT: Final = f"INSERT INTO bare {_VALUES}"
_INSERT_REAL: Final = f"INSERT INTO candles_1m {_VALUES}"
_WARM: Final = 200


def quantile(seconds: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return sorted(seconds)[int(share * (len(seconds) - 1))] * 1000


async def ours(settings: DatabaseSettings, market: Market, url: str) -> list[float]:
    """Return the seconds of every candle from its frame in hand to its commit."""
    seconds: list[float] = []

    def committed(batch: list[Item]) -> None:
        now = time.monotonic()
        seconds.extend(now - item.received for item in batch)

    await feeder(settings, market, url, committed)
    return seconds[_WARM:]


async def bare(
    connection: Connection, rows: list[tuple[Any, ...]], insert: str = _INSERT
) -> tuple[list[float], list[float]]:
    """Return the seconds of single prepared inserts at the same pace: from when each was asked, and was due.

    A frame comes whether or not the one before is stored; an insert that waits for the one before is asked
    late, and from then on takes no longer than any.
    """
    statement = await connection.prepare(insert)
    seconds, since_due = list[float](), list[float]()
    started = time.perf_counter()
    for number, row in enumerate(rows):
        due = started + number / RATE
        await even(due)
        asked = time.perf_counter()
        await statement.fetch(*row)
        ended = time.perf_counter()
        seconds.append(ended - asked)
        since_due.append(ended - due)
    return seconds[_WARM:], since_due[_WARM:]


async def _run(options: Options) -> Report:
    market = Market(symbols=1000, minutes=2 if options.quick else 5, rate=RATE)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    rows = [
        (*event.candle, event.event_time)
        for event in map(decode, messages(market))
        if isinstance(event, KlineEvent)
    ]
    mine, theirs, late, real = (list[list[float]]() for _ in range(4))
    async with fresh_database() as settings, sending(market) as url:
        connection = await db.connect(settings, "bench")
        await connection.execute(BARE)
        for number in range(rounds):
            asked, due = await bare(connection, rows)
            theirs.append(asked)
            late.append(due)
            real.append((await bare(connection, rows, _INSERT_REAL))[0])
            await connection.execute("TRUNCATE candles_1m")
            mine.append(await ours(settings, market, url))
            await connection.execute("TRUNCATE candles_1m, bare, market_clock")
            print(
                f"latency {number + 1}/{rounds}: p50 {quantile(mine[-1], 0.5):.2f} ms,"
                f" p99 {quantile(mine[-1], 0.99):.2f} ms; bare insert {quantile(theirs[-1], 0.5):.2f} and"
                f" {quantile(theirs[-1], 0.99):.2f} ms, into candles_1m {quantile(real[-1], 0.5):.2f} and"
                f" {quantile(real[-1], 0.99):.2f} ms",
                file=sys.stderr,
            )
        kind = await described(connection)
        await connection.close()
    floors = (
        ("frame to commit", "a bare single-row insert", theirs, (Target("<=", 1.5), Target("<=", 4.0))),
        (
            "… beside the bare insert counted from when it was due",
            "a bare single-row insert since its row was due",
            late,
            (None, None),
        ),
        (
            "… beside the same insert into candles_1m",
            "a single-row insert into candles_1m",
            real,
            (None, None),
        ),
    )
    return Report(
        [
            Result(
                f"{name}, {quantity}", "ms", [quantile(one, share) for one in mine],
                [quantile(one, share) for one in floor], f"{quantity} of {against}", target,
            )
            for name, against, floor, targets in floors
            for (quantity, share), target in zip((("p50", 0.5), ("p99", 0.99)), targets, strict=True)
        ],
        facts={
            "server": kind,
            "candles_per_second": RATE,
            "candles": market.candles,
            "mean_ms": [round(statistics.mean(one) * 1000, 3) for one in mine],
        },
    )  # fmt: skip


def run(options: Options) -> Report:
    """Measure in turns and return the figures."""
    gc.freeze()  # as the service does at its start
    return uvloop.run(_run(options))


if __name__ == "__main__":
    sys.exit(main(run))

"""Prints the newest candle and feature row, and how whole the history is: lines of ``candle<TAB>text``.

``progress`` is for a terminal that waits: the share of the expected minutes that are there, and what is left.

Runs where the services run (in the data-feeder's container, or in the local environment) and takes the
database from the same settings. A row that does not exist yet prints no line.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

import asyncpg

CANDLE = "SELECT symbol, time, close, source FROM candles_1m ORDER BY time DESC LIMIT 1"
FEATURES = "SELECT symbol, time, feature_version FROM feature_cache ORDER BY time DESC LIMIT 1"
# Before the exchange was heard nothing is expected.
HISTORY = """
SELECT coalesce(sum(expected_minutes), 0)::bigint AS expected,
       coalesce(sum(missing_minutes), 0)::bigint AS missing
FROM history_completeness
"""


async def newest() -> None:
    """Read all over one connection."""
    connection = await asyncpg.connect(
        host=os.environ["DB_HOST"].split(","),
        port=int(os.environ["DB_PORT"]),
        database=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASSWORD"] or None,
        ssl=cast(Any, os.environ.get("DB_SSLMODE") or "prefer"),
        timeout=10,
    )
    try:
        if row := await connection.fetchrow(CANDLE, timeout=20):
            print(f"candle\t{row['symbol']} {_minute(row)}, close {row['close']!r} ({row['source']})")
        if row := await connection.fetchrow(FEATURES, timeout=20):
            print(f"features\t{row['symbol']} {_minute(row)}, version {row['feature_version']}")
        if row := await connection.fetchrow(HISTORY, timeout=20):
            print(_history(row["expected"], row["missing"]))
    finally:
        await connection.close()


def _history(expected: int, missing: int) -> str:
    if not expected:
        return "progress\twaiting for the exchange"
    # Rounded down: 100 % is said of a whole history alone.
    present = max(expected - missing, 0) * 1000 // expected / 10
    share = f"{present:.1f} % of {expected:,} minutes"
    if not missing:
        return f"history\twhole\nprogress\t{share}"
    return (
        f"history\t{share}; {missing:,} still being fetched, newest first"
        f"\nprogress\t{share}, {missing:,} left"
    )


def _minute(row: asyncpg.Record) -> str:
    return f"{row['time']:%Y-%m-%d %H:%M} UTC"


if __name__ == "__main__":
    asyncio.run(newest())

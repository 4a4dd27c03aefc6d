"""The three baselines predict at each new row, as the models' role, and stop when they were told to."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from tests.examples.conftest import REPOSITORY, SYMBOL, Feeder

from marketdata.database import Connection
from marketdata.models import MINUTE_MS


@asynccontextmanager
async def baseline(
    driver: str, environment: Mapping[str, str], *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """A baseline and what it prints, for a minute at most; ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(REPOSITORY / "examples" / f"baseline_{driver}.py"), *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield process, process.stdout
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg", "client"])
async def test_a_baseline_predicts_at_each_new_row(
    driver: str, feeder: Feeder, connection: Connection, environment: Mapping[str, str]
) -> None:
    async with baseline(driver, environment, "--rows", "3") as (process, output):
        first = (await output.readline()).decode()
        assert first.startswith("waiting for rows"), first + (await output.read()).decode()
        for _ in range(3):
            await feeder.minute()
            assert b"in 15 min" in (line := await output.readline()), (
                line.decode() + (await output.read()).decode()
            )
        assert await output.read() == b""
        assert await process.wait() == 0
    records = await connection.fetch(
        "SELECT p.*, c.close, f.return_15m FROM predictions AS p"
        " JOIN candles_1m AS c ON c.symbol = p.symbol AND c.time = p.time - interval '1 minute'"
        " JOIN feature_matrix AS f ON f.symbol = p.symbol AND f.time = p.time ORDER BY p.time"
    )
    assert len(records) == 3
    for n, r in enumerate(records):
        assert (r["symbol"], r["model"], r["horizon_minutes"]) == (SYMBOL, f"baseline-{driver}", 15)
        assert r["features_time"] == r["time"] == records[0]["time"] + n * MINUTE_MS
        assert r["predicted"] == pytest.approx(r["close"] * math.exp(-0.1 * r["return_15m"]), rel=1e-12)


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
async def test_a_symbol_that_nobody_captures_is_not_waited_for(
    driver: str, feeder: Feeder, environment: Mapping[str, str]
) -> None:
    async with baseline(driver, environment, "--symbol", "NOSUCH") as (process, output):
        said = (await output.readline()).decode()
        assert said == f"there is no symbol NOSUCH here, only: {SYMBOL}\n"
        assert await process.wait() == 1

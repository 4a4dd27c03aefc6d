"""``python -m gap_handler``: how it starts, refuses to, and stops."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import httpx
import orjson
import pytest
from tests.gap_handler.harness import NOON, SYMBOL, Connection, environment, eventually, rows, stored

from exchange_simulator import Simulator
from gap_handler.scheduler import Scheduler
from marketdata import database as db
from marketdata import metrics
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

pytestmark = pytest.mark.database


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def start(variables: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gap_handler", env=variables,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_a_stop_in_the_middle_releases_the_lease(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    port = free_port()
    simulator.faults.add("rest_delay", seconds=0.5, path="klines")
    process = await start(
        environment(
            database, BINANCE_API_URL=simulator.api_url, GAP_HANDLER_PORT=str(port), BACKFILL_TOKEN="t0ken",
            BINANCE_ARCHIVE_URL="off", AUDIT_DAYS="0",
        )
    )  # fmt: skip
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def serving() -> bool:
            try:
                return (await client.get("/health")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(serving)
        body = {"symbol": SYMBOL, "start": "2026-03-02T00:00:00Z", "end": "2026-03-03T12:00:00Z"}
        assert (await client.post("/backfill", json=body)).status_code == 401
        answer = await client.post("/backfill", json=body, headers={"Authorization": "Bearer t0ken"})
        assert answer.status_code == 202, answer.text

        async def begun() -> bool:
            return len(await stored(ledger)) > 0

        await eventually(begun)
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0, err
    assert err == b""
    (gap,) = await rows(ledger, "gap")
    assert not gap["resolved"]
    assert await ledger.fetchval("SELECT lease_until <= now() FROM data_quality_logs")
    events = [orjson.loads(line)["event"] for line in out.splitlines()]
    assert {"service_started", "backfill_started", "lease_released", "service_stopped"} <= set(events)
    assert b"t0ken" not in out


async def test_settings_that_cannot_be_used_are_all_named(database: DatabaseSettings) -> None:
    process = await start(environment(database, GAP_HANDLER_PORT="99999", MAX_CONCURRENT_BACKFILLS="many"))
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"GAP_HANDLER_PORT" in err
    assert b"MAX_CONCURRENT_BACKFILLS" in err
    assert b"Traceback" not in err


async def test_a_port_or_database_that_cannot_be_had_is_named(database: DatabaseSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await start(environment(database, GAP_HANDLER_PORT=str(taken.getsockname()[1])))
        _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, b"cannot listen" in err, b"Traceback" in err) == (1, True, False)
    process = await start(environment(database, DB_NAME="not_there"))
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, b"DB_NAME" in err, b"Traceback" in err) == (1, True, False)


async def test_due_jobs_run_and_a_failing_one_harms_nothing(
    database: DatabaseSettings, ledger: Connection
) -> None:
    if await ledger.fetchval("SELECT server_kind()") == "community":
        pytest.skip("TimescaleDB's own scheduler runs the jobs here")
    await ledger.execute("UPDATE nightly_jobs SET next_run = now() - interval '1 minute'")
    await ledger.execute("DROP PROCEDURE nightly_cleanup")
    await ledger.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
        " VALUES ($1, $2, 'm', 1, 1)",
        SYMBOL, NOON - 10 * MINUTE_MS,
    )  # fmt: skip
    failures = metrics.TASK_FAILURES.labels("nightly_cleanup")._value.get()
    pool = await db.create_pool(database, "test", 2)
    await Scheduler(pool).step()
    await Scheduler(pool).step()
    await pool.close()
    assert metrics.TASK_FAILURES.labels("nightly_cleanup")._value.get() == failures + 1
    assert await ledger.fetchval("SELECT count(*) FROM nightly_jobs WHERE last_run IS NOT NULL") == 2
    assert await ledger.fetchval("SELECT count(*) FROM nightly_jobs WHERE next_run <= now()") == 0

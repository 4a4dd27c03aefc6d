"""What the exchange may do to us, and what everyone then sees."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.gap_handler.harness import (
    HOUR_MS,
    NOON,
    SYMBOL,
    Connection,
    eventually,
    expected,
    handler,
    rows,
    stored,
)

from exchange_simulator import Simulator
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

pytestmark = pytest.mark.database


async def test_a_429_stops_every_worker_for_as_long_as_it_says(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        await service.until((await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["id"], "completed")
        fault = simulator.faults.add("rest_status", status=429, retry_after=3, path="klines")
        began = time.monotonic()
        jobs = [
            (await service.post(SYMBOL, NOON - hour * HOUR_MS, NOON - hour * HOUR_MS + HOUR_MS // 2)).json()[
                "id"
            ]
            for hour in (3, 5, 7, 9, 11)
        ]

        async def noticed() -> bool:
            return bool((await service.health())["exchange_status"] == "rate_limited")

        await eventually(noticed)
        health = await service.health()
        assert health["status"] == "degraded"
        assert "asks us to wait" in health["reasons"][0]
        await asyncio.sleep(1.5)
        # Three workers, and whatever was on its way when the first answer came; nobody asks in the pause.
        assert fault.fired <= 3
        fired = fault.fired
        states = {(await service.status(job))["status"] for job in jobs}
        assert states <= {"open", "waiting"}
        simulator.faults.clear(fault.id)
        for job in jobs:
            await service.until(job, "completed", seconds=30)
        assert fault.fired == fired
        assert time.monotonic() - began >= 3
        assert (await service.health())["status"] == "healthy"


async def test_server_errors_nonsense_and_timeouts_pass(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    simulator.faults.add("rest_status", status=503, count=2)
    simulator.faults.add("rest_html", path="klines", count=1)
    simulator.faults.add("rest_truncated_json", path="klines", count=1)
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["id"]
        await service.until(job, "completed", seconds=40)
        assert (await service.health())["exchange_status"] == "ok"
    assert await stored(ledger) == expected(simulator, NOON - HOUR_MS, NOON)


async def test_a_location_that_is_not_served_is_said_plainly(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    fault = simulator.faults.add("rest_status", status=451)
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["id"]

        async def restricted() -> bool:
            return bool((await service.health())["exchange_status"] == "restricted")

        await eventually(restricted)
        answer = await service.client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "data-api.binance.vision" in answer.json()["reasons"][0]
        await asyncio.sleep(1)
        assert fault.fired <= 4, "not asked again for minutes"
        assert (await service.status(job))["status"] in ("open", "waiting")
        assert "HTTP 451" in (await service.status(job))["waiting_for"]


async def test_another_host_takes_over_when_one_is_gone(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, "http://127.0.0.1:9", simulator.api_url) as service:
        job = (await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["id"]
        await service.until(job, "completed")
        assert (await service.health())["status"] == "healthy"
    (failover,) = await rows(ledger, "failover")
    assert simulator.api_url in failover["text"]
    assert "ConnectError" in failover["text"]


async def test_an_exchange_that_is_gone_leaves_the_gap_open(
    database: DatabaseSettings, ledger: Connection
) -> None:
    async with handler(database, "http://127.0.0.1:9") as service:
        job = (await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["id"]
        waiting = await service.until(job, "waiting")
        assert "does not answer" in waiting["waiting_for"]
        health = await service.health()
    assert (health["status"], health["exchange_status"]) == ("degraded", "unavailable")
    assert health["minutes_missing"] == 60


async def test_a_job_that_stands_still_is_given_back(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    fault = simulator.faults.add("rest_delay", seconds=30, path="klines")
    async with handler(database, simulator.api_url, BACKFILL_TIMEOUT_SECONDS="5") as service:
        job = (await service.post(SYMBOL, NOON - 3 * MINUTE_MS, NOON)).json()["id"]

        async def again() -> bool:
            return bool((await service.status(job))["attempts"] >= 2)

        await eventually(again, seconds=15)
        simulator.faults.clear(fault.id)
        await service.until(job, "completed", seconds=15)


async def test_simulated_answers_never_enter_a_database_of_real_candles(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await ledger.execute("UPDATE platform_state SET exchange = 'binance'")
    async with handler(database, simulator.api_url) as service:
        await service.post(SYMBOL, NOON - HOUR_MS, NOON)

        async def refused() -> bool:
            health = await service.health()
            return health["status"] == "degraded" and "never share a database" in str(health["reasons"])

        await eventually(refused)
    assert await ledger.fetchval("SELECT count(*) FROM candles_1m") == 0

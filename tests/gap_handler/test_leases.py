"""A lease is its owner's alone: who was frozen for too long, or given up for dead, changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.gap_handler.harness import (
    DAY_MS,
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
from tests.processes import REPOSITORY, Program, database_environment

from exchange_simulator import Simulator
from gap_handler.archive.source import Archives
from gap_handler.backfill import Backfill
from gap_handler.exchange import Exchange
from gap_handler.failover import ExchangeGuard
from gap_handler.listing import Listings
from marketdata import database as db
from marketdata import metrics
from marketdata.clock import MarketClock, SystemClock
from marketdata.errors import LeaseLostError
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger as store
from marketdata.store.ledger import Work

pytestmark = pytest.mark.database


async def claim(connection: Connection, owner: str, *, lease_seconds: float = 60) -> Work:
    work = await store.claim(connection, lease_seconds=lease_seconds, max_minutes=100, owner=owner)
    assert work is not None
    return work


async def taken_over(connection: Connection) -> tuple[Work, Work]:
    """Return a work's lease that ran out, and the one that followed it."""
    await store.record_missing(connection, SYMBOL, NOON - HOUR_MS, NOON, "jump")
    first = await claim(connection, "first", lease_seconds=-1)
    return first, await claim(connection, "second")


async def state(connection: Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await connection.fetch("SELECT * FROM data_quality_logs ORDER BY id")]


async def test_whoever_lost_a_gap_changes_nothing_of_it(ledger: Connection) -> None:
    lost, held = await taken_over(ledger)
    before = await state(ledger)
    gap = lost.gap.id
    with pytest.raises(LeaseLostError):
        await store.renew(ledger, gap, lease_seconds=60, recovered=5, owner=lost.owner)
    with pytest.raises(LeaseLostError):
        await store.settle_gap(ledger, gap, recovered=5, retry_seconds=9, reason="x", owner=lost.owner)
    with pytest.raises(LeaseLostError):
        await store.hold(ledger, lost, lease_seconds=60)
    await store.release(ledger, gap, retry_seconds=0, reason="x", owner=lost.owner)
    assert await state(ledger) == before
    await store.renew(ledger, gap, lease_seconds=60, recovered=5, owner=held.owner)
    assert not await store.settle_gap(ledger, gap, recovered=0, retry_seconds=9, reason="x", owner=held.owner)
    with pytest.raises(LeaseLostError):
        await store.renew(ledger, gap, lease_seconds=60, owner=held.owner)
    (row,) = await rows(ledger, "gap")
    assert (row["candles_recovered"], row["lease_owner"], row["resolved"]) == (5, None, False)


async def test_whoever_lost_a_second_look_settles_nothing(ledger: Connection) -> None:
    await store.record_outage(ledger, SYMBOL, NOON - HOUR_MS, NOON, confirm_seconds=0)
    lost = await claim(ledger, "first", lease_seconds=-1)
    held = await claim(ledger, "second")
    with pytest.raises(LeaseLostError):
        await store.settle_outage(ledger, lost.gap.id, owner=lost.owner)
    assert [row["resolved"] for row in await rows(ledger, "outage")] == [False]
    await store.settle_outage(ledger, held.gap.id, owner=held.owner)
    assert [row["resolved"] for row in await rows(ledger, "outage")] == [True]


async def test_the_rest_of_a_split_gap_is_nobodys(ledger: Connection) -> None:
    await store.record_missing(ledger, SYMBOL, NOON - 5 * HOUR_MS, NOON, "jump")
    whole = await store.claim(ledger, lease_seconds=-1, max_minutes=300, owner="first")
    assert whole is not None
    piece = await claim(ledger, "second")
    assert piece.gap.id != whole.gap.id
    with pytest.raises(LeaseLostError):
        await store.renew(ledger, whole.gap.id, lease_seconds=60, owner="first")


async def test_a_page_that_comes_too_late_is_not_written(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    pool = await db.create_pool(database, "test", 2)
    market = MarketClock()
    exchange = Exchange([simulator.api_url], market, SystemClock())
    archives = Archives((), market, SystemClock(), ExchangeGuard(pool))
    backfill = Backfill(
        pool, exchange, archives, Listings(pool, exchange), market, confirm_seconds=3600, lease_seconds=60
    )
    lost, _ = await taken_over(ledger)
    before = await state(ledger)
    told: list[int] = []
    with pytest.raises(LeaseLostError):
        await backfill.run(lost, told.append)
    assert await stored(ledger) == []
    assert await state(ledger) == before
    assert sum(told) == 0
    simulator.faults.add("rest_missing_rows", start=NOON - HOUR_MS, end=NOON - MINUTE_MS)
    with pytest.raises(LeaseLostError):
        await backfill.run(lost._replace(gap=lost.gap._replace(end=NOON - MINUTE_MS)), told.append)
    assert await state(ledger) == before, "nor is an outage noted"
    await exchange.close()
    await archives.close()
    await pool.close()


def program(log: Path, database: DatabaseSettings, simulator: Simulator) -> Program:
    environment = {
        **database_environment(database),
        "PYTHONPATH": os.pathsep.join(
            str(REPOSITORY / folder)
            for folder in ("", "shared", "data-feeder", "gap-handler", "exchange-simulator")
        ),
        "BINANCE_API_URL": simulator.api_url,
        "BINANCE_ARCHIVE_URL": "off",
        "MAX_CONCURRENT_BACKFILLS": "1",
        "AUDIT_DAYS": "0",
        "LEASE_SECONDS": "1.5",
    }
    return Program(log, "tests.gap_handler.short_lease", environment=environment)


async def test_a_frozen_handler_finds_its_lease_lost(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, tmp_path: Path
) -> None:
    start = NOON - 1_500 * MINUTE_MS
    await store.record_missing(ledger, SYMBOL, start, NOON, "jump")
    slow = simulator.faults.add("rest_delay", seconds=2.5, path="klines")
    frozen, other = (program(tmp_path / name, database, simulator) for name in ("frozen.log", "other.log"))
    frozen.start()
    try:

        async def asking() -> bool:
            return slow.fired >= 2  # the first kline, then the first page

        await eventually(asking, seconds=30, what=lambda: frozen.output())
        process = frozen._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        other.start()

        async def asked_again() -> bool:
            return slow.fired >= 3

        await eventually(asked_again, seconds=30, what=lambda: other.output())
        simulator.faults.clear(slow.id)
        # The other one waits for its page; the frozen one has its own in hand.
        process.send_signal(signal.SIGCONT)

        async def lost() -> bool:
            return bool(frozen.events("lease_lost"))

        await eventually(lost, seconds=30, what=lambda: frozen.output())

        async def closed() -> bool:
            return [row["resolved"] for row in await rows(ledger, "gap")] == [True]

        await eventually(closed, seconds=30, what=lambda: other.output())
    finally:
        frozen.kill()
        if other.running:
            other.kill()
    (row,) = await rows(ledger, "gap")
    assert (row["candles_recovered"], row["attempts"]) == (1_500, 2)
    assert await stored(ledger) == expected(simulator, start, NOON)
    assert not frozen.events("task_failed")
    assert not other.events("task_failed")
    assert not frozen.events("candles_recovered")


async def test_a_frozen_transaction_does_not_keep_its_locks(database: DatabaseSettings) -> None:
    pool = await db.create_pool(database, "test", 1)
    async with pool.acquire() as connection:
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "30s"
    await pool.close()


async def test_two_handlers_keep_to_one_limit(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    asked = simulator.faults.add("rest_delay", seconds=0.0)
    twice = metrics.CANDLES_UNCHANGED.labels("rest")._value.get()
    refused = metrics.REST_REQUESTS.labels("429")._value.get()
    holes = [(NOON - (hour + 1) * HOUR_MS, NOON - (hour + 1) * HOUR_MS + 7 * MINUTE_MS) for hour in range(40)]
    async with (
        handler(database, simulator.api_url, GAP_HANDLERS="2") as one,
        handler(database, simulator.api_url, GAP_HANDLERS="2") as two,
    ):
        loop = asyncio.get_running_loop()
        began, before = loop.time(), asked.fired
        for start, end in holes:
            await store.record_missing(ledger, SYMBOL, start, end, "jump")

        async def closed() -> bool:
            return not await ledger.fetchval("SELECT count(*) FROM data_quality_logs WHERE NOT resolved")

        await eventually(closed, seconds=60)
        requests, seconds = asked.fired - before, loop.time() - began
        recovered = [(await service.health())["candles_recovered"] for service in (one, two)]
    assert requests >= len(holes)
    assert requests <= 10 * seconds + 4, "together they keep to what one may ask"
    assert sum(recovered) == 7 * len(holes)
    assert all(recovered), "both worked"
    assert metrics.CANDLES_UNCHANGED.labels("rest")._value.get() == twice, "no minute is written twice"
    assert metrics.REST_REQUESTS.labels("429")._value.get() == refused
    assert [row["attempts"] for row in await rows(ledger, "gap")] == [1] * len(holes)


async def test_minutes_before_retentions_edge_are_not_owed(ledger: Connection) -> None:
    edge = await ledger.fetchval("SELECT floor_minute(market_now() - interval '13 months') ")
    edge += MINUTE_MS  # the clock stands in the middle of a minute: the first whole one is kept
    for start, end, owed in ((edge - HOUR_MS, edge, False), (edge, edge + 2 * MINUTE_MS, True)):
        (gap,) = await store.record_missing(ledger, SYMBOL, start, end, "start")
        assert (await claim(ledger, "me")).gap.id == gap.id
        closed = await store.settle_gap(
            ledger, gap.id, recovered=0, retry_seconds=9, reason="missing", owner="me"
        )
        assert closed is not owed


async def test_a_gap_that_retention_overtook_is_closed_without_a_request(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    edge = await ledger.fetchval("SELECT floor_minute(market_now() - interval '13 months') ")
    await ledger.execute("UPDATE symbols SET first_kline = $1, history_start = $1", edge - 30 * DAY_MS)
    (gap,) = await store.record_missing(ledger, SYMBOL, edge - DAY_MS, edge - HOUR_MS, "start")
    asked = simulator.faults.add("rest_delay", seconds=0.0, path="klines")
    async with handler(database, simulator.api_url) as service:
        done = await service.until(gap.id, "completed")
    assert (done["candles_missing"], done["candles_recovered"], done["outage_minutes"]) == (0, 0, 0)
    assert asked.fired == 0
    assert not await rows(ledger, "outage")
    assert await ledger.fetchval("SELECT history_start FROM symbols") == edge - 30 * DAY_MS


async def waiting(connection: Connection, start: int, end: int) -> int:
    """Return a gap that was tried, and is to be tried again in an hour."""
    (gap,) = await store.record_missing(connection, SYMBOL, start, end, "jump")
    assert (await claim(connection, "me")).gap.id == gap.id
    await store.release(connection, gap.id, retry_seconds=3600, reason="the market is halted", owner="me")
    return gap.id


async def lease_of(connection: Connection, gap: int) -> int | None:
    found: int | None = await connection.fetchval(
        "SELECT lease_until FROM data_quality_logs WHERE id = $1", gap
    )
    return found


async def test_a_joining_request_ends_the_wait_but_nobodys_lease(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    gap = await waiting(ledger, NOON - HOUR_MS, NOON)
    await store.record_missing(ledger, SYMBOL, NOON - 3 * HOUR_MS, NOON - 2 * HOUR_MS, "jump")
    held = (await claim(ledger, "somebody", lease_seconds=3600)).gap.id
    until = await lease_of(ledger, held)
    async with handler(database, simulator.api_url) as service:
        assert (await service.status(gap))["status"] == "waiting"
        answer = (await service.post(SYMBOL, NOON - 30 * MINUTE_MS, NOON)).json()
        assert (answer["id"], answer["status"]) == (gap, "joined")
        await service.until(gap, "completed")
        answer = (await service.post(SYMBOL, NOON - 3 * HOUR_MS, NOON - 2 * HOUR_MS)).json()
        assert (answer["id"], answer["status"]) == (held, "joined")
        assert await lease_of(ledger, held) == until
    assert await stored(ledger) == expected(simulator, NOON - HOUR_MS, NOON)


async def test_a_joining_request_does_not_end_a_pause(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    gap = await waiting(ledger, NOON - HOUR_MS, NOON)
    until = await lease_of(ledger, gap)
    limited = simulator.faults.add("rest_status", status=429, retry_after=60)
    async with handler(database, simulator.api_url) as service:

        async def paused() -> bool:
            return bool((await service.health())["exchange_status"] == "rate_limited")

        await eventually(paused)
        assert (await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["status"] == "joined"
        assert await lease_of(ledger, gap) == until
    assert limited.fired <= 2

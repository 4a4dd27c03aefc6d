"""Gaps are filled exactly, and nothing else is stored."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.gap_handler.harness import (
    DAY_MS,
    HOUR_MS,
    NOON,
    NOW,
    SYMBOL,
    Connection,
    coverage,
    eventually,
    expected,
    handler,
    rows,
    stored,
)

from exchange_simulator import Simulator
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import record_missing

pytestmark = pytest.mark.database


async def test_a_requested_gap_is_filled_exactly(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    start, end = NOON - 3 * HOUR_MS, NOON - HOUR_MS
    async with handler(database, simulator.api_url) as service:
        answer = await service.post(SYMBOL, start, end)
        assert answer.status_code == 202
        assert answer.json()["status"] == "open"
        done = await service.until(answer.json()["id"], "completed")
        health = await service.health()
    assert await stored(ledger) == expected(simulator, start, end)
    assert len(await stored(ledger)) == 120
    assert done == {
        "id": answer.json()["id"],
        "symbol": SYMBOL,
        "start": isoformat(start),
        "end": isoformat(end),
        "status": "completed",
        "candles_missing": 0,
        "candles_recovered": 120,
        "outage_minutes": 0,
        "attempts": 1,
        "waiting_for": None,
    }
    assert health["status"] == "healthy"
    assert (health["backfills_completed"], health["candles_recovered"]) == (1, 120)
    assert (health["open_gaps"], health["minutes_missing"]) == (0, 0)
    sources = await ledger.fetch("SELECT DISTINCT source, known_at FROM candles_1m")
    assert [tuple(source) for source in sources] == [("rest", NOW)]


async def test_a_gap_somebody_else_wrote_is_filled_without_a_request(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await record_missing(ledger, SYMBOL, NOON - 10 * MINUTE_MS, NOON, "jump")
    async with handler(database, simulator.api_url):

        async def closed() -> bool:
            return all(row["resolved"] for row in await rows(ledger, "gap"))

        await eventually(closed)
    assert await stored(ledger) == expected(simulator, NOON - 10 * MINUTE_MS, NOON)


async def test_the_open_minute_is_never_stored(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    # The feeder may announce a gap up to a minute that the exchange has not finished.
    await record_missing(ledger, SYMBOL, NOON - 5 * MINUTE_MS, NOON + MINUTE_MS, "silence")
    async with handler(database, simulator.api_url) as service:
        job = (await rows(ledger, "gap"))[0]["id"]
        waiting = await service.until(job, "waiting")
        assert waiting["candles_missing"] == 1
        assert "no final candle after" in waiting["waiting_for"]
        assert await stored(ledger) == expected(simulator, NOON - 5 * MINUTE_MS, NOON)
        simulator.clock.jump(NOON + MINUTE_MS + 1_500)
        await service.until(job, "completed")
    assert await stored(ledger) == expected(simulator, NOON - 5 * MINUTE_MS, NOON + MINUTE_MS)
    assert not await rows(ledger, "outage")


async def test_a_large_gap_is_split_and_reported_as_one(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await ledger.execute("UPDATE symbols SET history_start = $1", NOON - 9 * DAY_MS)
    start, end = NOON - 12_100 * MINUTE_MS, NOON
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, start, end)).json()["id"]
        done = await service.until(job, "completed", seconds=40)
    pieces = await rows(ledger, "gap")
    # By the calendar: what is left of February, the first of March, yesterday and today.
    yesterday, march = NOON - 36 * HOUR_MS, NOON - 60 * HOUR_MS
    assert [(row["gap_start"], row["gap_end"]) for row in pieces] == [
        (start, march), (march, yesterday), (yesterday, end),
    ]  # fmt: skip
    assert [orjson.loads(row["text"])["parent"] for row in pieces[1:]] == [job, job]
    assert (done["start"], done["end"]) == (isoformat(start), isoformat(end))
    assert (done["candles_recovered"], done["candles_missing"]) == (12_100, 0)
    assert await stored(ledger) == expected(simulator, start, end)


async def test_minutes_before_the_first_kline_are_not_expected(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    first = simulator.market.source.first_day(SYMBOL) * DAY_MS
    await ledger.execute("UPDATE symbols SET history_start = $1", first - DAY_MS)
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, first - 2 * HOUR_MS, first + HOUR_MS)).json()["id"]
        done = await service.until(job, "completed")
        assert (done["candles_recovered"], done["candles_missing"]) == (60, 0)
        early = await service.post(SYMBOL, first - 2 * HOUR_MS, first - HOUR_MS)
        assert early.status_code == 422
    assert await stored(ledger) == expected(simulator, first, first + HOUR_MS)
    assert await ledger.fetchval("SELECT first_kline FROM symbols") == first
    assert not await rows(ledger, "outage")


async def test_a_handler_that_dies_is_continued_by_the_next(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    start = NOON - 36 * HOUR_MS
    slow = simulator.faults.add("rest_delay", seconds=0.5, path="klines")
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, start, NOON)).json()["id"]

        async def begun() -> bool:
            return len(await stored(ledger)) >= 1_000

        await eventually(begun)
    left = (await rows(ledger, "gap"))[0]
    assert not left["resolved"], "stopped in the middle"
    assert left["candles_recovered"] == len(await stored(ledger))
    assert await ledger.fetchval("SELECT lease_until <= now() FROM data_quality_logs WHERE id = $1", job)
    simulator.faults.clear(slow.id)
    asked = []
    async with handler(database, simulator.api_url) as service:
        done = await service.until(job, "completed")
        health = await service.health()
        asked.append(health["candles_recovered"])
    assert asked == [2_160 - left["candles_recovered"]], "nothing is recovered twice"
    assert (done["candles_recovered"], done["attempts"]) == (2_160, 2)
    assert await stored(ledger) == expected(simulator, start, NOON)


async def test_a_lease_without_an_owner_runs_out(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    gaps = await record_missing(ledger, SYMBOL, NOON - HOUR_MS, NOON, "jump")
    await ledger.execute(
        "UPDATE data_quality_logs SET lease_until = now() + interval '2 seconds', attempts = 1"
    )
    async with handler(database, simulator.api_url) as service:
        assert (await service.status(gaps[0].id))["status"] == "running"
        done = await service.until(gaps[0].id, "completed")
    assert (done["attempts"], done["candles_recovered"]) == (2, 60)


async def test_two_handlers_share_one_ledger(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    holes = [(NOON - (hour + 1) * HOUR_MS, NOON - (hour + 1) * HOUR_MS + 7 * MINUTE_MS) for hour in range(20)]
    async with handler(database, simulator.api_url) as one, handler(database, simulator.api_url) as two:
        jobs = [(await service.post(SYMBOL, *hole)).json()["id"]
                for service, hole in zip([one, two] * 10, holes, strict=True)]  # fmt: skip
        for job in jobs:
            done = await one.until(job, "completed")
            assert (done["attempts"], done["candles_recovered"]) == (1, 7)
        recovered = [(await service.health())["candles_recovered"] for service in (one, two)]
    assert sum(recovered) == 140
    assert all(recovered), "both worked"
    assert [c.time for c in await stored(ledger)] == sorted(
        minute for start, end in holes for minute in range(start, end, MINUTE_MS)
    )


async def test_an_impossible_row_is_kept_as_evidence_and_the_minute_becomes_an_outage(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    bad = NOON - 30 * MINUTE_MS
    day = simulator.market.source.day(SYMBOL, bad // DAY_MS)
    assert day is not None
    position = day.position(bad % DAY_MS // MINUTE_MS)
    assert position is not None
    day.table[position, 3] = 0  # its low
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, NOON - HOUR_MS, NOON)).json()["id"]
        done = await service.until(job, "completed")
        assert (done["candles_recovered"], done["outage_minutes"], done["candles_missing"]) == (59, 1, 1)
        simulator.clock.jump(NOW + 2 * HOUR_MS)
        await ledger.execute("SELECT advance_market_clock($1)", NOW + 2 * HOUR_MS)

        async def confirmed() -> bool:
            return [row["resolved"] for row in await rows(ledger, "outage")] == [True]

        await eventually(confirmed)
    assert len(await rows(ledger, "invalid")) == 1, "noted once, however often it is looked at"
    assert (bad, bad + MINUTE_MS, "outage") in await coverage(ledger, NOON - HOUR_MS, NOON)


async def test_work_continues_after_the_database_dropped_every_connection(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, NOON - 4_000 * MINUTE_MS, NOON)).json()["id"]
        for _ in range(3):
            await asyncio.sleep(0.15)
            await ledger.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'gap_handler'"
            )

        async def closed() -> bool:
            return bool(
                await ledger.fetchval(
                    "SELECT bool_and(resolved) FROM data_quality_logs WHERE event_type = 'gap' AND id >= $1",
                    job,
                )
            )

        await eventually(closed, seconds=60)
    assert await stored(ledger) == expected(simulator, NOON - 4_000 * MINUTE_MS, NOON)

"""What POST /backfill accepts, what it refuses and how; what /health says when things are broken."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tests.gap_handler.harness import (
    DAY_MS,
    HOUR_MS,
    NOON,
    SYMBOL,
    Connection,
    eventually,
    handler,
    rows,
)

from exchange_simulator import Simulator
from gap_handler.probe import Probe
from marketdata import database as db
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import record_missing

pytestmark = pytest.mark.database

GOOD = {"symbol": SYMBOL, "start": isoformat(NOON - HOUR_MS), "end": isoformat(NOON)}

REFUSED: list[tuple[str, Any, str]] = [
    ("an unknown symbol", GOOD | {"symbol": "NOPEUSDT"}, "symbol"),
    ("a symbol of another type", GOOD | {"symbol": 7}, "symbol"),
    ("a symbol with a zero byte", GOOD | {"symbol": "BTC\0"}, "symbol"),
    ("an endless symbol", GOOD | {"symbol": "B" * 5000}, "symbol"),
    ("no symbol", {"start": GOOD["start"], "end": GOOD["end"]}, "symbol"),
    ("no end", {"symbol": SYMBOL, "start": GOOD["start"]}, "end"),
    ("a reversed range", GOOD | {"start": GOOD["end"], "end": GOOD["start"]}, "end"),
    ("an empty range", GOOD | {"end": GOOD["start"]}, "end"),
    ("the future", GOOD | {"end": isoformat(NOON + DAY_MS)}, "end"),
    ("the open minute", GOOD | {"end": isoformat(NOON + MINUTE_MS)}, "end"),
    ("half a minute", GOOD | {"start": isoformat(NOON - 90_000 - 30_000 + 1)}, "start"),
    ("a time without zone", GOOD | {"start": "2026-03-03T11:00:00"}, "start"),
    ("a day", GOOD | {"start": "2026-03-03"}, "start"),
    ("a number", GOOD | {"start": NOON}, "start"),
    ("null", GOOD | {"end": None}, "end"),
    ("nonsense", GOOD | {"start": "yesterday"}, "start"),
    ("the end of time", GOOD | {"end": "9999-12-31T23:59:00-14:00"}, "end"),
    ("the beginning of time", GOOD | {"start": "0001-01-01T00:00:00+14:00"}, "start"),
    ("decades", GOOD | {"start": "1990-01-01T00:00:00Z"}, "end"),
    ("before the history", GOOD | {"start": isoformat(NOON - 6 * DAY_MS)}, "start"),
    ("a field too many", GOOD | {"interval": "1m"}, "interval"),
    ("a list", [GOOD], "body"),
    ("a string", "BTCUSDT", "body"),
]


async def test_what_cannot_be_asked_for_is_refused_by_its_field(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        for what, body, field in REFUSED:
            answer = await service.client.post("/backfill", json=body)
            assert answer.status_code == 422, (what, answer.text)
            assert [problem["field"] for problem in answer.json()["detail"]] == [field], (what, answer.text)
        for raw in (b"", b"{", b"\xff\xfe", b'{"symbol": NaN}', b'{"symbol":"\\ud800"}', b"[" * 5000):
            answer = await service.client.post("/backfill", content=raw)
            assert answer.status_code == 422, raw
            assert answer.json()["detail"][0]["field"] == "body"
        assert (await service.client.post("/backfill", content=b"x" * 70_000)).status_code == 413

        async def chunks() -> Any:
            for _ in range(70):
                yield b" " * 1000

        assert (await service.client.post("/backfill", content=chunks())).status_code == 413
        several = (await service.client.post("/backfill", json={"symbol": "", "start": 1, "x": 2})).json()
        assert {problem["field"] for problem in several["detail"]} == {"symbol", "start", "end", "x"}
    assert not await rows(ledger, "gap")


async def test_times_of_any_zone_name_the_same_minutes(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    body = {"symbol": SYMBOL, "start": "2026-03-03T16:30:00+05:30", "end": "2026-03-03T12:00Z"}
    async with handler(database, simulator.api_url) as service:
        answer = await service.client.post("/backfill", json=body)
        assert answer.status_code == 202
        assert (answer.json()["start"], answer.json()["end"]) == (GOOD["start"], GOOD["end"])


async def test_asking_twice_joins_the_same_work_and_a_full_range_is_done_at_once(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    fault = simulator.faults.add("rest_status", status=503)
    async with handler(database, simulator.api_url) as service:
        first = (await service.client.post("/backfill", json=GOOD)).json()
        second = (await service.client.post("/backfill", json=GOOD)).json()
        assert (first["status"], second["status"]) == ("open", "joined")
        assert first["id"] == second["id"]
        simulator.faults.clear(fault.id)
        await service.until(first["id"], "completed", seconds=30)
        third = (await service.client.post("/backfill", json=GOOD)).json()
        assert third["status"] == "completed"
        assert third["id"] != first["id"]
        state = await service.status(third["id"])
        assert (state["status"], state["candles_missing"], state["candles_recovered"]) == ("completed", 0, 0)


async def test_a_request_over_several_holes_is_one_backfill(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        middle = (await service.post(SYMBOL, NOON - 40 * MINUTE_MS, NOON - 20 * MINUTE_MS)).json()["id"]
        await service.until(middle, "completed")
        job = (await service.client.post("/backfill", json=GOOD)).json()["id"]
        done = await service.until(job, "completed")
    assert (done["start"], done["end"], done["candles_recovered"]) == (GOOD["start"], GOOD["end"], 40)


async def test_a_request_for_the_newest_minute_asks_the_exchange_what_time_it_is(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    simulator.clock.jump(NOON + 30 * MINUTE_MS + 1_500)
    async with handler(database, simulator.api_url) as service:
        answer = await service.post(SYMBOL, NOON, NOON + 30 * MINUTE_MS)
        assert answer.status_code == 202, answer.text
        assert (await service.until(answer.json()["id"], "completed"))["candles_recovered"] == 30


async def test_unknown_backfills_are_not_found(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        assert (await service.client.get("/backfill/999999")).status_code == 404
        for wrong in ("0", "-1", "abc", "9" * 30, "1.5", "%00"):
            assert (await service.client.get(f"/backfill/{wrong}")).status_code == 422, wrong
        await ledger.execute("INSERT INTO data_quality_logs (event_type, symbol) VALUES ('disconnect', NULL)")
        event = await ledger.fetchval("SELECT max(id) FROM data_quality_logs")
        assert (await service.client.get(f"/backfill/{event}")).status_code == 404


async def test_the_token_is_wanted_for_backfills_alone(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url, token="s3cret ü") as service:
        for wrong in (b"", b"Bearer", b"Bearer wrong", "Basic s3cret ü".encode(), b"Bearer \xff"):
            headers = {b"Authorization": wrong}
            answer = await service.client.post("/backfill", json=GOOD, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        good = {b"Authorization": "Bearer s3cret ü".encode()}
        answer = await service.client.post("/backfill", json=GOOD, headers=good)
        assert answer.status_code == 202
        assert (await service.client.get(f"/backfill/{answer.json()['id']}")).status_code == 200
        assert (await service.client.get("/health")).status_code == 200


async def test_the_interface_describes_itself(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        assert (await service.client.get("/docs")).status_code == 200
        paths = (await service.client.get("/openapi.json")).json()["paths"]
        assert set(paths) == {"/backfill", "/backfill/{job_id}", "/health", "/metrics"}
        assert "symbol" in json.dumps(paths["/backfill"]["post"]["requestBody"])
        text = (await service.client.get("/metrics")).text
    for name in ("backfills_total", "candles_recovered_total", "rest_requests_total", "open_gaps"):
        assert name in text


async def test_health_without_a_database(database: DatabaseSettings, simulator: Simulator) -> None:
    for wrong in (replace(database, host="127.0.0.1", port=9), replace(database, name="not_there")):
        async with handler(wrong, simulator.api_url) as service:
            answer = await service.client.get("/health")
            assert answer.status_code == 503
            report = answer.json()
            assert (report["status"], report["database_status"]) == ("unhealthy", "disconnected")
            assert report["reasons"]
            assert (await service.client.post("/backfill", json=GOOD)).status_code == 503
            assert (await service.client.get("/backfill/1")).status_code == 503


async def test_health_answers_while_the_database_hangs(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    async with handler(database, simulator.api_url) as service:
        blocking = await db.connect(database, "test-block")
        async with blocking.transaction():
            await blocking.execute("LOCK TABLE data_quality_logs IN ACCESS EXCLUSIVE MODE")

            async def disconnected() -> bool:
                async with asyncio.timeout(2.2):
                    answer = await service.client.get("/health")
                return (answer.status_code, answer.json()["database_status"]) == (503, "disconnected")

            # The first may still learn what was asked before the lock.
            await eventually(disconnected, seconds=6)
        await blocking.close()
        await asyncio.sleep(0.2)
        assert (await service.client.get("/health")).status_code == 200


async def test_minutes_missing_counts_what_is_not_yet_filled(
    database: DatabaseSettings, ledger: Connection
) -> None:
    await record_missing(ledger, SYMBOL, NOON - 3 * HOUR_MS, NOON - HOUR_MS, "start")
    pool: asyncpg.Pool[Any] = await db.create_pool(database, "test", 1)
    seen = await Probe(pool).look(5)
    await pool.close()
    assert not isinstance(seen, str)
    kind = await ledger.fetchval("SELECT server_kind()")
    assert (seen.open_gaps, seen.minutes_missing, seen.server_kind) == (1, 120, kind)

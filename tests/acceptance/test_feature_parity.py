"""Live and batch give the same features: four real weeks through the whole pipeline, holes and all.

Three symbols, 28 days, the last of them streamed with a book. On the way final frames are withheld,
delayed and put out of order, of the reference too, and the connection is cut; the gap-handler repairs it
after later rows were written. In the end every stored row is held against one batch computation.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance.own_server import OwnServer
from tests.acceptance.storm_script import DAY_MS, END, FIRST, SYMBOLS
from tests.acceptance.truth import archived, assert_features_equal_batch, stored
from tests.conftest import migrate
from tests.processes import Ports, Program, answer, until

from marketdata import database as db
from marketdata.database import Connection
from marketdata.features import NAMES
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS

STREAMED = int(os.environ.get("FEATURE_PARITY_DAYS", "10"))
"""Of the 28 days, how many come by the stream; the others are history. 21 take two minutes."""
LIVE = END - STREAMED * DAY_MS
DAYS = [isoformat(FIRST + n * DAY_MS)[:10] for n in range(28)]
CALM = END - DAY_MS
SPEED = 24_000
TOLERANCE = 1e-9

_LEFT = """
SELECT (SELECT count(*) FROM candles_1m) AS candles, (SELECT count(*) FROM feature_values) AS features,
       (SELECT count(*) FROM stale_features) AS stale,
       (SELECT count(*) FROM data_quality_logs WHERE NOT resolved) AS unresolved
"""
_DEFINED = "SELECT count(*) FILTER (WHERE values[$1] IS NOT NULL) FROM feature_values WHERE symbol = $2"


def disturbances() -> list[tuple[int, str, dict[str, Any]]]:
    """Two a day, spread over what is streamed: (market time, kind, parameters)."""
    rng = random.Random("parity")
    found: list[tuple[int, str, dict[str, Any]]] = []
    for n, at in enumerate(range(LIVE + DAY_MS // 4, CALM, DAY_MS // 2)):
        start = at + rng.randrange(120, 240) * MINUTE_MS
        some: dict[str, Any] = {"symbol": (None, *SYMBOLS)[n % 4], "seed": n}
        if n % 7 == 5:
            found.append((at, "delay_frames", {"count": 6, "seconds": rng.choice((4, 61, 300)), "seed": n}))
        elif n % 7 == 6:
            found.append((at, "drop_connections", {"mode": "abort"}))
        else:
            end = start + rng.choice((1, 1, 3, 30, 200)) * MINUTE_MS
            found.append((at, "withhold_final", some | {"start": start, "end": end}))
        found.append((at, "reorder", {"count": 5, "frames": "final", "seed": n}))
    return found


class Replay:
    """The processes, and the market as it stands."""

    def __init__(self, server: OwnServer, days: Path, folder: Path) -> None:
        ports = Ports.free()
        environment = {
            **ports.environment(server.settings),
            "SYMBOLS": ",".join(SYMBOLS),
            "HISTORY_DAYS": str(29 - STREAMED),
        }
        self._simulator = ports.simulator(
            folder / "simulator.log",
            "--replay", str(days), "--symbols", ",".join(SYMBOLS), "--no-wait",
            "--start", str(LIVE), "--speed", "60", "--open-frames-per-minute", "1",
            "--book-frames-per-minute", "1",
        )  # fmt: skip
        self._feeder = Program(folder / "feeder.log", "data_feeder", environment=environment)
        self._handler = Program(folder / "handler.log", "gap_handler", environment=environment)
        self.programs = (self._simulator, self._feeder, self._handler)
        # A connection for each question: on a busy machine one that is kept ends while it is being asked.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ports.http}", timeout=30, limits=fresh, trust_env=False
        )
        self._answers = f"http://127.0.0.1:{ports.http}/control/clock"
        self._health = f"http://127.0.0.1:{ports.feeder}/health"

    async def start(self) -> None:
        """Start everything, and the market's speed once the stream is listened to."""
        self._simulator.start()
        await self._until(lambda: _true(answer(self._answers)), "the simulator answers")
        self._handler.start()
        self._feeder.start()

        async def listening() -> bool:
            return bool((await self._get("/control/state"))["subscriptions"])

        await self._until(listening, "the feeder listens")
        await self.run_at(SPEED)

    async def disturb(self) -> None:
        """Do what is to go wrong, each at its time."""
        for at, kind, params in disturbances():
            await self.reach(at)
            late = max(await self._now() - at, 0) // MINUTE_MS * MINUTE_MS
            if "start" in params:
                # On a slow machine the minutes that were to come are still to come.
                params |= {"start": params["start"] + late, "end": params["end"] + late}
            reply = await self._client.post("/control/faults", json={"kind": kind, **params})
            assert reply.status_code == 200, reply.text
        await self.reach(CALM)

    async def fired(self) -> dict[str, int]:
        """How often each kind of disturbance took effect."""
        counted: dict[str, int] = {}
        for fault in (await self._get("/control/state"))["faults"]:
            counted[fault["kind"]] = counted.get(fault["kind"], 0) + fault["fired"]
        await self._client.delete("/control/faults")
        return counted

    async def run_at(self, speed: float) -> None:
        """Set the market's speed."""
        await self._client.post("/control/clock", json={"speed": speed})

    async def reach(self, at: int) -> None:
        """Wait for a market instant; the market waits for a feeder that is hours behind."""
        while (now := await self._now()) < at:
            last = (await answer(self._health)).get("last_candle_time")
            behind = last is not None and isoformat(now - 12 * 60 * MINUTE_MS) > last
            await self.run_at(SPEED / 8 if behind else SPEED)
            await asyncio.sleep(min(0.5, max(0.02, (at - now) / 1000 / SPEED)))

    async def close(self) -> None:
        """End everything."""
        await self._client.aclose()
        for program in self.programs:
            if program.running:
                program.kill()

    async def _now(self) -> int:
        return int((await self._get("/control/clock"))["now_ms"])

    async def _get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self._client.get(path)).json()
        return found

    async def _until(self, condition: Any, what: str) -> None:
        await until(condition, seconds=60, what=what, programs=self.programs)


async def _true(value: Any) -> bool:
    return bool(await value)


async def defined(connection: Connection, name: str) -> dict[str, int]:
    """How many rows of each symbol have a value of a feature."""
    place = NAMES.index(name) + 1
    return {symbol: await connection.fetchval(_DEFINED, place, symbol) for symbol in SYMBOLS}


@pytest.mark.acceptance
@pytest.mark.promise
@pytest.mark.parity
@pytest.mark.timeout(420)
async def test_four_weeks_of_live_rows_are_the_batchs(
    real_data: Path, tmp_path: Path, record_property: Any
) -> None:
    truth = archived(real_data, SYMBOLS, DAYS)
    assert len(truth) == 120_720
    server = OwnServer(tmp_path / "database.log")
    await asyncio.to_thread(server.start)
    replay = Replay(server, real_data / "spot_daily_zips" / "1m", tmp_path)
    try:
        await migrate(server.settings, policies=False)
        connection = await db.connect(server.settings, "test")
        await replay.start()
        await replay.disturb()
        fired = await replay.fired()
        assert fired["withhold_final"] > 100, fired
        assert fired["delay_frames"] > 5, fired
        await replay.reach(END)
        state: dict[str, int] = {}

        async def done() -> bool:
            record = await connection.fetchrow(_LEFT)
            assert record is not None
            state.update(record)
            return state == {"candles": len(truth), "features": len(truth), "stale": 0, "unresolved": 0}

        try:
            await until(done, seconds=150, what="nothing is left to do", programs=replay.programs)
        except AssertionError as error:
            error.add_note(f"{state}, where {len(truth)} candles were expected")
            raise
        assert await stored(connection) == truth
        gaps = await connection.fetchval("SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap'")
        repaired = await connection.fetch(
            "SELECT DISTINCT symbol FROM feature_values WHERE known_at > time + interval '30 minutes'"
            " AND time > $1 ORDER BY symbol",
            LIVE + DAY_MS,
        )
        assert gaps > 10
        assert [r["symbol"] for r in repaired] == sorted(SYMBOLS)
        live = (END - LIVE) // MINUTE_MS
        books = await defined(connection, "book_imbalance")
        beside = await defined(connection, "btc_correlation_60m")
        assert all(count > 0.9 * live for count in books.values()), books
        assert all(count > 0.9 * len(truth) / 3 for count in beside.values()), beside
        greatest = await assert_features_equal_batch(connection, SYMBOLS, FIRST, END)
        rows = f"{len(truth)} rows of {len(NAMES)} features, {gaps} gaps, {fired}"
        summary = f"{rows}: greatest difference {greatest}"
        record_property("parity", summary)
        print(summary)
        assert greatest <= TOLERANCE
        await connection.close()
    finally:
        await replay.close()
        await asyncio.to_thread(server.remove)

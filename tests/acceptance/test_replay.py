"""Real days through the whole pipeline, at speed and undisturbed."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.acceptance.truth import archived, assert_features_equal_batch, stored
from tests.processes import Ports, Program, answer, until

from marketdata import database as db
from marketdata.minutes import from_datetime, to_datetime
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
# The day with the halt and the minutes without trades, and a day on either side.
DAYS = ("2023-03-23", "2023-03-24", "2023-03-25")
FIRST = 1679529600000  # 2023-03-23T00:00:00Z
END = FIRST + len(DAYS) * 1440 * MINUTE_MS
HALT = (1679661600000, 1679666400000)  # 12:40 to 14:00 on the 24th
SPEED = 8000


@pytest.mark.acceptance
@pytest.mark.promise
@pytest.mark.timeout(420)
async def test_real_days_are_stored_exactly(
    real_data: Path, database: DatabaseSettings, tmp_path: Path
) -> None:
    ports = Ports.free()
    files = [
        str(real_data / "spot_daily_zips" / "1m" / f"{symbol}-1m-{day}.zip")
        for symbol in SYMBOLS
        for day in DAYS
    ]
    environment = {
        **ports.environment(database),
        "SYMBOLS": ",".join(SYMBOLS),
        "HISTORY_DAYS": "1",
    }
    simulator = ports.simulator(tmp_path / "simulator.log", "--replay", *files, "--no-wait", "--speed", "60")
    feeder = Program(tmp_path / "feeder.log", "data_feeder", environment=environment)
    handler = Program(tmp_path / "handler.log", "gap_handler", environment=environment)
    programs = (simulator, feeder, handler)
    connection = await db.connect(database, "test")

    async def market_reaches(time: int) -> bool:
        now = await connection.fetchval("SELECT market_now()")
        return now is not None and now >= time

    async def listening() -> bool:
        return bool((await answer(f"http://127.0.0.1:{ports.http}/control/state")).get("subscriptions"))

    async def whole() -> bool:
        return bool(
            await connection.fetchval(
                "SELECT (SELECT count(*) FROM candles_1m) = $1"
                " AND NOT EXISTS (SELECT FROM data_quality_logs WHERE NOT resolved)"
                " AND NOT EXISTS (SELECT FROM stale_features)"
                " AND (SELECT count(*) FROM feature_values) = $1",
                len(expected),
            )
        )

    expected = archived(real_data, SYMBOLS, DAYS)
    assert len(expected) == 3 * (len(DAYS) * 1440 - 80)
    try:
        simulator.start()
        await until(lambda: _alive(ports.http), seconds=20, what="the simulator answers", programs=programs)
        handler.start()
        feeder.start()
        # However long the start takes, the market begins its run with somebody listening.
        await until(listening, seconds=60, what="the feeder listens", programs=programs)
        async with httpx.AsyncClient() as client:
            await client.post(f"http://127.0.0.1:{ports.http}/control/clock", json={"speed": SPEED})
        await until(lambda: market_reaches(END), seconds=200, what="the replay ends", programs=programs)
        await until(whole, seconds=120, what="every gap is closed", programs=programs)

        assert await stored(connection) == expected
        outages = await connection.fetch(
            "SELECT symbol, gap_start, gap_end, candles_missing, detail ->> 'confirmed' AS confirmed"
            " FROM data_quality_logs WHERE event_type = 'outage' ORDER BY symbol"
        )
        assert [tuple(r) for r in outages] == [(symbol, *HALT, 80, "true") for symbol in SYMBOLS]
        for symbol in SYMBOLS:
            covered = await connection.fetch(
                "SELECT status, sum(extract(epoch FROM to_time - from_time) / 60)::integer AS minutes"
                " FROM candle_coverage($1, $2, $3) GROUP BY status",
                symbol, FIRST, END,
            )  # fmt: skip
            minutes = {r["status"]: r["minutes"] for r in covered}
            assert "missing" not in minutes
            assert minutes["outage"] == 80
            assert minutes["no-trade"] == 72
            assert sum(minutes.values()) == len(DAYS) * 1440
        sources = await connection.fetch("SELECT source, count(*) AS n FROM candles_1m GROUP BY source")
        counted = {r["source"]: r["n"] for r in sources}
        assert counted["stream"] > 0.9 * len(expected)
        await assert_features_equal_batch(connection, SYMBOLS, FIRST, END)
        health = await answer(f"http://127.0.0.1:{ports.feeder}/health")
        assert health["status"] == "healthy"
        assert health["last_candle_time"] == to_datetime(END - MINUTE_MS).isoformat().replace("+00:00", "Z")
        assert from_datetime(to_datetime(END)) == END
    finally:
        await connection.close()
        for program in programs:
            if program.running:
                program.stop()


async def _alive(port: int) -> bool:
    return await answer(f"http://127.0.0.1:{port}/api/v3/ping") == {} and bool(
        await answer(f"http://127.0.0.1:{port}/api/v3/time")
    )

"""A first start's history from the archives, with the gap-handler killed on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.gap_handler.harness import DAY_MS, NOON, NOW, register, stored
from tests.processes import Program, database_environment, free_port, until

from exchange_simulator import Simulator, SimulatorConfig
from marketdata import database as db
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import record_missing

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
DAYS = int(os.environ.get("TEST_HISTORY_DAYS", "62"))
"""HISTORY_DAYS is 395; this is two whole months, and the days on either side that have files of their own."""
START = NOON - DAYS * DAY_MS


@pytest.mark.acceptance
@pytest.mark.promise
@pytest.mark.timeout(600)
async def test_months_of_history_survive_two_kills(database: DatabaseSettings, tmp_path: Path) -> None:
    connection = await db.connect(database, "test")
    config = SimulatorConfig(
        seed=7, symbols=SYMBOLS, history_days=DAYS + 2, start_ms=NOW - 10_000, stream_port=0, http_port=0
    )
    async with Simulator(config) as simulator:
        simulator.clock.pause()
        simulator.clock.jump(NOW)
        for symbol in SYMBOLS:
            await register(connection, symbol=symbol, history=START)
            await record_missing(connection, symbol, START, NOON, "start")
        handler = Program(
            tmp_path / "handler.log", "gap_handler",
            environment={
                **database_environment(database),
                "SYMBOLS": ",".join(SYMBOLS),
                "BINANCE_API_URL": simulator.api_url,
                "BINANCE_ARCHIVE_URL": simulator.api_url,
                "GAP_HANDLER_PORT": str(free_port()),
            },
        )  # fmt: skip
        whole = len(SYMBOLS) * DAYS * 1440

        async def holds(rows: int) -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM candles_1m") >= rows)

        async def closed() -> bool:
            return not await connection.fetchval(
                "SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap' AND NOT resolved"
            )

        try:
            for share in (0.15, 0.5):
                handler.start()
                at = int(share * whole)
                await until(lambda at=at: holds(at), seconds=200, what=f"{at} rows", programs=(handler,))
                handler.kill()
                assert not await closed(), "killed in the middle"
            handler.start()
            await until(closed, seconds=300, what="every gap is closed", programs=(handler,))
        finally:
            if handler.running:
                handler.stop()
        for symbol in SYMBOLS:
            assert await stored(connection, symbol) == simulator.candles(symbol, START, NOON)
    sources = await connection.fetch("SELECT source, count(*) AS n FROM candles_1m GROUP BY source")
    counted = {record["source"]: record["n"] for record in sources}
    assert sum(counted.values()) == whole
    assert counted["archive"] > 0.9 * whole
    recovered = await connection.fetchval("SELECT sum(candles_recovered) FROM data_quality_logs")
    assert recovered == whole, "nothing was lost, nothing counted twice"
    assert not await connection.fetchval(
        "SELECT count(*) FROM data_quality_logs WHERE event_type IN ('outage', 'invalid', 'revision')"
    )
    await connection.close()

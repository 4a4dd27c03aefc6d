"""A primary that dies and its standby that is promoted: the feeder goes on with the one that takes writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.acceptance.own_server import OwnServer
from tests.conftest import migrate
from tests.feeder.conftest import T0, eventually, running_feeder, stored

from exchange_simulator import Simulator, SimulatorConfig
from marketdata import database as db

SYMBOL = "ETHUSDT"
STREAMING = {"wal_level": "replica", "max_wal_senders": "4"}


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[OwnServer]:
    """A server that streams to whoever asks."""
    server = OwnServer(tmp_path / "primary.log", options=STREAMING)
    server.start()
    yield server
    server.remove()


async def test_a_promoted_standby_is_found_and_nothing_is_lost(primary: OwnServer, tmp_path: Path) -> None:
    await migrate(primary.settings, policies=False)
    standby = OwnServer(tmp_path / "standby.log", host="127.0.0.2", standby_of=primary, options=STREAMING)
    config = SimulatorConfig(
        seed=7, symbols=(SYMBOL,), start_ms=T0, history_days=1, speed=60.0, stream_port=0, http_port=0
    )
    # The standby is named first: it is passed over for as long as it is one.
    both = replace(primary.settings, host=f"{standby.settings.host},{primary.settings.host}")
    try:
        standby.start()
        reader = await db.connect(standby.settings, "test-reader")
        assert await reader.fetchval("SELECT pg_is_in_recovery()")
        async with Simulator(config) as simulator, running_feeder(both, simulator) as health:

            async def replicated() -> bool:
                return bool(await reader.fetchval("SELECT count(*) FROM feature_cache") >= 3)

            await eventually(replicated, "candles and rows can be read on the standby", 60)
            before = await reader.fetchval("SELECT max(time) FROM candles_1m")
            primary.kill()

            async def noticed() -> bool:
                code, body = await health()
                return code == 503 and not body["database_connected"]

            await eventually(noticed, "health says that the primary is gone", 60)
            await reader.execute("SELECT pg_promote()")

            async def goes_on() -> bool:
                code, body = await health()
                newest = await reader.fetchval("SELECT max(time) FROM feature_cache")
                return code == 200 and body["candles_buffered"] == 0 and newest > before + 180_000

            await eventually(goes_on, "candles and rows go on, on the promoted one", 60)
            rows = await stored(reader, SYMBOL)
            true = simulator.candles(SYMBOL, rows[0].time, rows[-1].time + 1)
            owed = await reader.fetch(
                "SELECT gap_start, gap_end FROM data_quality_logs WHERE event_type = 'gap'"
            )
            lost = set(true) - set(rows)
            assert set(rows) <= set(true)
            # What the primary had not passed on is in the ledger, and REST has it.
            assert all(any(gap["gap_start"] <= c.time < gap["gap_end"] for gap in owed) for c in lost)
        await reader.close()
    finally:
        standby.remove()


async def test_a_list_without_a_primary_is_waited_for(primary: OwnServer) -> None:
    """Nobody listens at the first address; the second is asked at once."""
    both = replace(primary.settings, host=f"127.0.0.3,{primary.settings.host}")
    await db.wait_for_database(both, seconds=5)
    connection = await db.connect(both, "test")
    assert not await connection.fetchval("SELECT pg_is_in_recovery()")
    await connection.close()

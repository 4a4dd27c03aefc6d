"""Two feeders on one database: one is killed, its minutes are found and fetched, and it returns."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.gap_handler.harness import handler, stored
from tests.processes import Program, answer, database_environment, free_port, until

from exchange_simulator import Simulator, SimulatorConfig
from gap_handler import silence
from marketdata.database import Connection
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

_OPEN = "SELECT count(*) FROM data_quality_logs WHERE symbol = $1 AND NOT resolved AND gap_end > $2"
_FROM = "SELECT count(*) FROM candles_1m WHERE symbol = $1 AND time > $2 AND source = $3"
T0 = 1679616000000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
LOST = "ETHUSDT"
"""The one of the first shard of two."""


async def statuses(connection: Connection, symbol: str, since: int) -> list[str]:
    """What coverage says of a symbol's minutes from ``since`` on, in order."""
    records = await connection.fetch(
        "SELECT status FROM candle_coverage($1, $2, market_now())", symbol, since
    )
    return [record["status"] for record in records]


async def test_a_lost_shard_is_seen_repaired_and_continued(
    database: DatabaseSettings, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A minute takes half a second here, so the looks are that much closer, too.
    monkeypatch.setattr(silence, "EVERY_SECONDS", 0.25)
    config = SimulatorConfig(
        seed=7, symbols=SYMBOLS, start_ms=T0, history_days=2, speed=120.0, stream_port=0, http_port=0
    )
    ports = [free_port(), free_port()]
    async with Simulator(config) as simulator:
        environment = {
            **database_environment(database), "SYMBOLS": ",".join(SYMBOLS), "HISTORY_DAYS": "1",
            "BINANCE_STREAM_URL": simulator.stream_url, "BINANCE_API_URL": simulator.api_url,
        }  # fmt: skip
        feeders = [
            Program(
                tmp_path / f"feeder-{number}.log", "data_feeder",
                environment=environment | {"SHARD": f"{number}/2", "FEEDER_PORT": str(port)},
            )
            for number, port in enumerate(ports, 1)
        ]  # fmt: skip

        async def both_healthy() -> bool:
            said = [await answer(f"http://127.0.0.1:{port}/health") for port in ports]
            return all(body.get("status") == "healthy" for body in said)

        async def newest() -> int:
            found = await connection.fetchval("SELECT max(time) FROM candles_1m WHERE source = 'stream'")
            return int(found or 0)

        try:
            for feeder in feeders:
                feeder.start()
            await until(both_healthy, seconds=60, what="two healthy feeders", programs=tuple(feeders))
            async with handler(database, simulator.api_url) as handling:
                refused = simulator.faults.add("rest_status", status=503, path="klines")
                since = await newest()
                feeders[0].kill()

                async def seen() -> bool:
                    return (
                        "missing" in await statuses(connection, LOST, since)
                        and bool(await connection.fetchval(_OPEN, LOST, since + 2 * MINUTE_MS))
                        and f"symbols: {LOST};" in str((await handling.health())["reasons"])
                    )

                await until(
                    seen,
                    seconds=60,
                    what="coverage, ledger and health show the lost shard",
                    programs=(feeders[1],),
                )
                simulator.faults.clear(refused.id)

                async def by_rest() -> bool:
                    found = await connection.fetchval(_FROM, LOST, since + MINUTE_MS, "rest")
                    return bool(found > 2)

                await until(by_rest, seconds=90, what="its minutes come by REST")
                back = await newest()
                feeders[0].start()

                async def whole() -> bool:
                    streamed = await connection.fetchval(_FROM, LOST, back, "stream")
                    found = await statuses(connection, LOST, since)
                    last = found[-1:] == ["missing"]
                    return (
                        streamed > 2
                        and "missing" not in (found[:-1] if last else found)
                        and not (await handling.health())["reasons"]
                        and await both_healthy()
                    )

                await until(
                    whole, seconds=90, what="it continues, and nothing is missing", programs=tuple(feeders)
                )
            rows = await stored(connection, LOST)
            true = {
                candle.time: candle for candle in simulator.candles(LOST, rows[0].time, rows[-1].time + 1)
            }
            assert all(row == true[row.time] for row in rows)
        finally:
            for feeder in feeders:
                if feeder.running:
                    feeder.stop()

"""The feeder against the simulator: what it stores, what it owes, what it says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.feeder.conftest import T0, eventually, running_feeder, stored
from tests.processes import Program, database_environment, free_port

from exchange_simulator import Simulator, SimulatorConfig
from marketdata import database as db
from marketdata.database import Connection
from marketdata.errors import ConfigurationError, DatabaseUnavailableError, WrongExchangeError
from marketdata.models import MINUTE_MS, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import symbols
from marketdata.store.candles import Row, write

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def config(**changes: Any) -> SimulatorConfig:
    values: dict[str, Any] = {
        "seed": 7, "symbols": SYMBOLS, "start_ms": T0, "history_days": 2, "speed": 600.0, "stream_port": 0,
        "http_port": 0,
    }  # fmt: skip
    return SimulatorConfig(**(values | changes))


async def minutes_pass(connection: Connection, minutes: int, symbol: str = "BTCUSDT") -> None:
    async def enough() -> bool:
        count = await connection.fetchval("SELECT count(*) FROM candles_1m WHERE symbol = $1", symbol)
        return bool(count >= minutes)

    await eventually(enough, f"{minutes} candles of {symbol}")


async def holes(connection: Connection, symbol: str = "BTCUSDT") -> list[tuple[int, str]]:
    """Return (minutes, cause) of the gaps after the start's history."""
    records = await connection.fetch(
        "SELECT candles_missing, detail ->> 'cause' AS cause FROM data_quality_logs"
        " WHERE event_type = 'gap' AND symbol = $1 AND gap_start >= $2 ORDER BY gap_start",
        symbol, T0,
    )  # fmt: skip
    return [tuple(r) for r in records]


async def test_every_streamed_candle_is_the_exchanges_own(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config(speed=None, end_ms=T0 + 300 * MINUTE_MS)) as simulator:
        async with running_feeder(database, simulator):
            for symbol in SYMBOLS:
                await minutes_pass(connection, 299, symbol)

            async def features_done() -> bool:
                same = "SELECT (SELECT count(*) FROM feature_values) = (SELECT count(*) FROM candles_1m)"
                return bool(await connection.fetchval(same))

            await eventually(features_done, "a feature row for each candle")
        for symbol in SYMBOLS:
            rows = await stored(connection, symbol)
            assert rows == simulator.candles(symbol, rows[0].time, T0 + 300 * MINUTE_MS)
    history = await connection.fetch("SELECT symbol, candles_missing FROM data_quality_logs ORDER BY symbol")
    assert [r["symbol"] for r in history] == list(SYMBOLS), "the history before the start is one gap a symbol"
    # The last minute before the start may reach the feeder before its first audit.
    assert all(r["candles_missing"] in (1439, 1440) for r in history)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("repeat_frames", {"times": 3}),
        ("reorder", {}),
        ("garbage_frame", {"text": "\x00 not json"}),
        ("server_shutdown", {"grace_seconds": 1.0}),
        ("drop_connections", {"mode": "abort"}),
        ("drop_connections", {"mode": "close"}),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("mode", ""),
)
async def test_disturbances_lose_nothing_in_silence(
    database: DatabaseSettings, connection: Connection, kind: str, parameters: dict[str, Any]
) -> None:
    async with Simulator(config()) as simulator:
        async with running_feeder(database, simulator) as health:
            await minutes_pass(connection, 3)
            fault = simulator.faults.add(kind, count=3, **parameters)
            before = await connection.fetchval("SELECT count(*) FROM candles_1m")
            await minutes_pass(connection, before // 2 + 25)
            assert fault.fired
            assert (await health())[1]["websocket_connected"]
        rows = await stored(connection, "BTCUSDT")
        assert rows == [
            c for c in simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1) if c in set(rows)
        ], "what is stored is the exchange's own"
        open_minutes = sum(minutes for minutes, _ in await holes(connection))
        spanned = (rows[-1].time - rows[0].time) // MINUTE_MS + 1
        assert len(rows) + open_minutes >= spanned, "what is not stored is in the ledger"
        noted = await connection.fetchval(
            "SELECT count(*) FROM data_quality_logs WHERE event_type = 'disconnect'"
        )
        assert noted >= 1 if kind == "drop_connections" else noted == 0, kind
        if kind in ("repeat_frames", "garbage_frame", "server_shutdown"):
            assert len(rows) == spanned


async def test_a_withheld_final_frame_is_a_gap_and_its_features_are_null(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config()) as simulator, running_feeder(database, simulator):
        await minutes_pass(connection, 5)
        # At this speed a minute or two pass while the feeder connects.
        already, others = await holes(connection), await holes(connection, "ETHUSDT")
        simulator.faults.add("withhold_final", symbol="BTCUSDT", count=2)
        before = await connection.fetchval("SELECT count(*) FROM candles_1m WHERE symbol = 'BTCUSDT'")
        await minutes_pass(connection, before + 5)

        async def there() -> bool:
            found = (await holes(connection))[len(already) :]
            return sum(minutes for minutes, _ in found) == 2

        await eventually(there, "two minutes in the ledger")
    assert await holes(connection, "ETHUSDT") == others


async def test_a_silent_stream_is_noticed_and_replaced(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with (
        Simulator(config()) as simulator,
        running_feeder(database, simulator, GAP_DETECTION_THRESHOLD="5") as health,
    ):
        await minutes_pass(connection, 3, "ETHUSDT")
        simulator.faults.add("withhold_all", symbol="ETHUSDT", for_seconds=9)

        async def degraded() -> bool:
            code, body = await health()
            return code == 200 and body["status"] == "degraded" and "ETHUSDT" in str(body["reasons"])

        await eventually(degraded, "degraded health that names the stream")

        async def owed() -> bool:
            stale = "SELECT count(*) FROM data_quality_logs WHERE event_type = 'stale' AND symbol = 'ETHUSDT'"
            found = any(cause in ("late", "silence") for _, cause in await holes(connection, "ETHUSDT"))
            return found and bool(await connection.fetchval(stale))

        await eventually(owed, "the silent minutes in the ledger")

        async def healthy() -> bool:
            return (await health())[1]["status"] == "healthy"

        await eventually(healthy, "healthy again")


async def test_health_says_what_it_must(database: DatabaseSettings, connection: Connection) -> None:
    async with Simulator(config()) as simulator, running_feeder(database, simulator) as health:
        await minutes_pass(connection, 2)
        code, body = await health()
        assert code == 200
        assert body["status"] == "healthy"
        assert body["database_connected"] is True
        assert body["websocket_connected"] is True
        assert body["candles_processed"] >= 2
        assert body["uptime_seconds"] > 0
        assert body["memory_mb"] > 10
        assert body["last_candle_time"].endswith(":00Z")


async def test_a_lost_database_is_unhealthy_keeps_its_candles_and_catches_up(
    database: DatabaseSettings, connection: Connection, server: DatabaseSettings
) -> None:
    admin = await db.connect(server, "test-admin")
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = $1 AND application_name LIKE 'data-feeder%'"
    )
    async with Simulator(config(speed=240.0)) as simulator:
        async with running_feeder(database, simulator) as health:
            await minutes_pass(connection, 3)
            await admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
            await admin.execute(terminate, database.name)

            async def unhealthy() -> bool:
                code, body = await health()
                return code == 503 and body["status"] == "unhealthy" and body["candles_buffered"] > 2

            await eventually(unhealthy, "unhealthy with candles in memory")
            await admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')

            async def healthy() -> bool:
                code, body = await health()
                return code == 200 and body["candles_buffered"] == 0

            await eventually(healthy, "healthy again, with nothing left in memory")
        rows = await stored(connection, "BTCUSDT")
        assert rows == simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1)
    assert await holes(connection) == []
    await admin.close()


async def test_an_exchange_that_is_down_at_start_degrades_and_then_works(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config()) as simulator:
        simulator.faults.add("rest_status", status=503, count=2)
        async with running_feeder(database, simulator) as health:

            async def degraded() -> bool:
                try:
                    code, body = await health()
                except OSError:
                    return False
                return code == 200 and body["status"] == "degraded"

            await eventually(degraded, "degraded while the exchange is down")
            await minutes_pass(connection, 2)


async def test_a_database_of_the_other_exchange_is_refused(connection: Connection) -> None:
    await symbols.claim_exchange(connection, "simulator")
    await symbols.claim_exchange(connection, "simulator")
    with pytest.raises(WrongExchangeError, match="real and simulated candles never share"):
        await symbols.claim_exchange(connection, "binance")


async def test_a_database_that_is_not_there_is_waited_for_and_then_named() -> None:
    nowhere = DatabaseSettings("127.0.0.1", free_port(), "x", "y", "secret-word", "disable")
    with pytest.raises(DatabaseUnavailableError, match=r"no database at 127\.0\.0\.1") as caught:
        await db.wait_for_database(nowhere, seconds=1.2)
    assert "secret-word" not in str(caught.value)


async def test_a_refused_role_is_named_at_once(server: DatabaseSettings) -> None:
    from dataclasses import replace

    with pytest.raises(ConfigurationError, match="refuses nobody_here"):
        await db.wait_for_database(replace(server, user="nobody_here", password="x"), seconds=30)


async def _ends(tmp_path: Any, environment: dict[str, str]) -> tuple[int, str]:
    program = Program(tmp_path / "feeder.log", "data_feeder", environment=environment)
    program.start()
    code = await asyncio.to_thread(program.wait, 30)
    return code, program.output()


async def test_a_symbol_the_exchange_lacks_is_named(database: DatabaseSettings, tmp_path: Any) -> None:
    async with Simulator(config()) as simulator:
        code, output = await _ends(
            tmp_path,
            {
                **database_environment(database), "SYMBOLS": "BTCUSDT,NOSUCHUSDT,ALSONOTUSDT",
                "BINANCE_API_URL": simulator.api_url, "BINANCE_STREAM_URL": simulator.stream_url,
                "FEEDER_PORT": str(free_port()),
            },
        )  # fmt: skip
    assert code == 2
    assert "NOSUCHUSDT, ALSONOTUSDT" in output
    assert "Traceback" not in output


async def test_malformed_settings_end_the_start_with_every_name(tmp_path: Any) -> None:
    code, output = await _ends(tmp_path, {"SYMBOLS": "x y", "DB_PORT": "many", "HISTORY_DAYS": "0"})
    assert code == 2
    for name in ("SYMBOLS", "DB_PORT", "HISTORY_DAYS"):
        assert name in output
    assert "Traceback" not in output


async def test_a_taken_port_is_named(database: DatabaseSettings, tmp_path: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = await _ends(tmp_path, {**database_environment(database), "FEEDER_PORT": str(port)})
    assert code == 2
    assert f"FEEDER_PORT={port}" in output
    assert "Traceback" not in output


async def test_rows_recomputed_before_the_first_frame_know_when_they_were_computed(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config(speed=60.0)) as simulator:
        await symbols.register(connection, {"BTCUSDT": "TRADING"}, now_ms=T0, history_days=1)
        rows = [Row(c, T0) for c in simulator.candles("BTCUSDT", T0 - 20 * MINUTE_MS, T0)]
        await write(connection, rows, source=Source.REST)
        simulator.faults.add("refuse_connections")
        async with running_feeder(database, simulator):

            async def computed() -> bool:
                return bool(await connection.fetchval("SELECT count(*) FROM feature_values") == len(rows))

            await eventually(computed, "the stale rows are computed")
    assert await connection.fetchval("SELECT min(known_at) FROM feature_values") >= T0


async def test_the_old_socket_is_kept_until_a_new_one_delivers(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config(speed=240.0)) as simulator, running_feeder(database, simulator) as health:
        await minutes_pass(connection, 3)
        already = await holes(connection)
        refused = simulator.faults.add("refuse_connections")
        simulator.faults.add("server_shutdown", count=1, grace_seconds=60.0)
        await eventually(lambda: _fired(refused), "a new connection is tried, and refused")
        before = await connection.fetchval("SELECT count(*) FROM candles_1m")
        await minutes_pass(connection, before // 2 + 8)
        assert (await health())[1]["websocket_connected"]
        assert await holes(connection) == already, "nothing was lost meanwhile"


async def _fired(fault: Any) -> bool:
    return bool(fault.fired)

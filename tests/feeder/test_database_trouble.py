"""Whatever the database does: nothing is lost in silence, /health says why, the feeder catches up."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import migrate
from tests.feeder.conftest import T0, eventually, running_feeder, stored
from tests.feeder.postgres import OwnPostgres
from tests.processes import Program, database_environment, free_port

from data_feeder.buffer import Buffer
from exchange_simulator import Simulator, SimulatorConfig
from marketdata import database as db
from marketdata.metrics import CANDLES_SHED, WRITE_FAILURES
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import symbols

Health = Callable[[], Awaitable[tuple[int, dict[str, Any]]]]


def config(**changes: Any) -> SimulatorConfig:
    values: dict[str, Any] = {
        "seed": 7, "symbols": ("BTCUSDT",), "start_ms": T0, "history_days": 2, "speed": 120.0,
        "stream_port": 0, "http_port": 0,
    }  # fmt: skip
    return SimulatorConfig(**(values | changes))


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    """A server that these tests may break; each leaves it running."""
    own = OwnPostgres()
    try:
        yield own
    finally:
        own.close()


@pytest.fixture
async def own_database(postgres: OwnPostgres) -> AsyncIterator[DatabaseSettings]:
    """A migrated database on it whose owner is no superuser: those are refused nothing."""
    name = f"own_{uuid.uuid4().hex[:8]}"
    admin = await db.connect(postgres.settings, "test-admin")
    try:
        # For the schema only: it makes the readers' role.
        await admin.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
        await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
        await migrate(postgres.database(name, name), policies=False)
        await admin.execute(f"ALTER ROLE {name} NOSUPERUSER")
    finally:
        await admin.close()
    yield postgres.database(name, name)
    admin = await db.connect(postgres.settings, "test-admin")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


class Trouble:
    """One way to break the database and mend it: ``superuser`` may do anything on it."""

    def __init__(self, postgres: OwnPostgres, database: DatabaseSettings) -> None:
        self.postgres = postgres
        self.name = database.name
        self.superuser = postgres.database(database.name, "postgres")

    async def sql(self, *statements: str) -> None:
        connection = await db.connect(self.superuser, "test-admin")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @property
    def cut(self) -> str:
        return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{self.name}'"

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self.postgres.stop)
        yield
        await asyncio.to_thread(self.postgres.start)

    @asynccontextmanager
    async def killed(self) -> AsyncIterator[None]:
        self.postgres.kill()
        yield

        async def started() -> bool:
            # Its children take a moment to notice, and hold the shared memory until then.
            try:
                await asyncio.to_thread(self.postgres.start)
            except subprocess.CalledProcessError:
                return False
            return True

        await eventually(started, "the server starts again", 30)

    @asynccontextmanager
    async def too_many_connections(self) -> AsyncIterator[None]:
        await self.sql(f"ALTER ROLE {self.name} CONNECTION LIMIT 0", self.cut)
        yield
        await self.sql(f"ALTER ROLE {self.name} CONNECTION LIMIT -1")

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        await self.sql(f"ALTER ROLE {self.name} SET default_transaction_read_only = on", self.cut)
        yield
        await self.sql(f"ALTER ROLE {self.name} RESET default_transaction_read_only", self.cut)

    @asynccontextmanager
    async def without_rights(self) -> AsyncIterator[None]:
        await self.sql(f"REVOKE INSERT, UPDATE ON candles_1m FROM {self.name}")
        yield
        await self.sql(f"GRANT INSERT, UPDATE ON candles_1m TO {self.name}")

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        connection = await db.connect(self.superuser, "test-admin")
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE candles_1m IN ACCESS EXCLUSIVE MODE")
        yield
        await transaction.rollback()
        await connection.close()


async def whole(simulator: Simulator, connection: db.Connection) -> None:
    """Every minute between the first and the last one stored is stored, as the exchange has it."""
    rows = await stored(connection, "BTCUSDT")
    assert rows == simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1)


async def comes_back(health: Health, connection: db.Connection) -> None:
    """Wait until a feeder whose database is mended has caught up and goes on."""

    async def healthy() -> bool:
        code, body = await health()
        return code == 200 and body["candles_buffered"] == 0 and body["status"] == "healthy"

    await eventually(healthy, "healthy again, with nothing left in memory", 60)
    before = await connection.fetchval("SELECT count(*) FROM candles_1m")

    async def more() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM candles_1m") > before)

    await eventually(more, "another candle")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("stopped", ""),
        ("killed", ""),
        ("too_many_connections", "53300"),
        ("read_only", "no writes|25006"),
        ("without_rights", "42501"),
        ("locked", "no answer in time"),
    ],
)
async def test_a_database_that_fails_costs_nothing(
    postgres: OwnPostgres,
    own_database: DatabaseSettings,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    reason: str,
) -> None:
    monkeypatch.setattr("data_feeder.writer.COMMAND_TIMEOUT", 1.5)
    monkeypatch.setattr("marketdata.database._SERVER_GRACE", 0.5)
    trouble = Trouble(postgres, own_database)
    failed = WRITE_FAILURES.labels("stream")._value.get()
    async with Simulator(config()) as simulator, running_feeder(own_database, simulator) as health:

        async def going() -> bool:
            return (await health())[1]["candles_processed"] >= 3

        await eventually(going, "candles before the trouble")
        async with getattr(trouble, kind)():

            async def unhealthy() -> bool:
                code, body = await health()
                told = re.search(reason, " ".join(body["reasons"]))
                return bool(code == 503 and body["candles_buffered"] > 3 and told)

            await eventually(unhealthy, f"unhealthy, with candles in memory, because of {reason or kind}", 40)
            if kind == "locked":
                await no_pile_of_waiting_statements(trouble)
        connection = await db.connect(trouble.superuser, "test")
        await comes_back(health, connection)
        await whole(simulator, connection)
        gaps = "SELECT count(*) FROM data_quality_logs WHERE event_type = 'gap' AND gap_start > $1"
        assert await connection.fetchval(gaps, T0 + 10 * MINUTE_MS) == 0, "what was kept was no gap"
        await connection.close()
    assert WRITE_FAILURES.labels("stream")._value.get() > failed


async def no_pile_of_waiting_statements(trouble: Trouble) -> None:
    """What a try left behind a lock is ended by the server: else each try takes one connection more."""
    connection = await db.connect(trouble.superuser, "test")
    count = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'data-feeder-writer' AND wait_event_type = 'Lock'"
    )
    tries = WRITE_FAILURES.labels("stream")._value.get() + 3

    async def tried() -> bool:
        assert await connection.fetchval(count) <= 2
        return bool(WRITE_FAILURES.labels("stream")._value.get() >= tries)

    await eventually(tried, "three more tries", 60)
    await connection.close()


async def test_what_a_full_buffer_gives_up_is_in_the_ledger(
    postgres: OwnPostgres, own_database: DatabaseSettings
) -> None:
    trouble = Trouble(postgres, own_database)
    shed = CANDLES_SHED._value.get()
    async with (
        Simulator(config()) as simulator,
        running_feeder(own_database, simulator, buffer=Buffer(capacity=5, press_back=0.1)) as health,
    ):

        async def going() -> bool:
            return (await health())[1]["candles_processed"] >= 3

        await eventually(going, "candles before the trouble")
        async with trouble.too_many_connections():

            async def given_up() -> bool:
                return CANDLES_SHED._value.get() >= shed + 3

            await eventually(given_up, "candles given up")
            assert (await health())[1]["candles_buffered"] <= 5
        connection = await db.connect(trouble.superuser, "test")
        await comes_back(health, connection)
        rows = await stored(connection, "BTCUSDT")
        owed = await connection.fetch(
            "SELECT gap_start, gap_end FROM data_quality_logs"
            " WHERE event_type = 'gap' AND NOT resolved AND gap_start >= $1",
            rows[0].time,
        )
        minutes = {c.time for c in rows} | {
            t for gap in owed for t in range(gap["gap_start"], gap["gap_end"], MINUTE_MS)
        }
        assert owed
        assert minutes >= set(range(rows[0].time, rows[-1].time + 1, MINUTE_MS))
        await connection.close()


@pytest.fixture
def small_disk(postgres: OwnPostgres) -> Iterator[Path]:
    """A disk of four megabytes; the test is skipped, and says so, where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own to fill needs root, who may mount one")
    folder = postgres.owned_folder("small")
    options = f"size=4m,uid={folder.stat().st_uid},mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a disk of its own to fill cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


async def test_a_full_disk_costs_nothing(
    postgres: OwnPostgres, own_database: DatabaseSettings, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    trouble = Trouble(postgres, own_database)
    await trouble.sql(
        f"CREATE TABLESPACE small LOCATION '{small_disk}'", "ALTER TABLE candles_1m SET TABLESPACE small"
    )
    async with (
        Simulator(config(speed=600.0)) as simulator,
        running_feeder(own_database, simulator) as health,
    ):
        _fill(filler)

        async def full() -> bool:
            code, body = await health()
            return code == 503 and "53100" in " ".join(body["reasons"])

        await eventually(full, "unhealthy because the disk is full", 60)
        filler.unlink()
        connection = await db.connect(trouble.superuser, "test")
        await comes_back(health, connection)
        await whole(simulator, connection)
        await connection.close()
    await trouble.sql("ALTER TABLE candles_1m SET TABLESPACE pg_default", "DROP TABLESPACE small")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


async def test_a_stop_while_the_database_is_away_says_what_it_leaves_and_the_next_start_finds_it(
    postgres: OwnPostgres, own_database: DatabaseSettings, tmp_path: Path
) -> None:
    trouble = Trouble(postgres, own_database)
    async with Simulator(config()) as simulator:
        program = Program(
            tmp_path / "feeder.log", "data_feeder",
            environment={
                **database_environment(own_database), "SYMBOLS": "BTCUSDT", "HISTORY_DAYS": "1",
                "BINANCE_API_URL": simulator.api_url, "BINANCE_STREAM_URL": simulator.stream_url,
                "FEEDER_PORT": str(free_port()),
            },
        )  # fmt: skip
        program.start()

        async def written() -> bool:
            return bool(program.events("candles_written"))

        await eventually(written, "the first candle", 40)
        async with trouble.too_many_connections():
            last = simulator.clock.now_ms()

            async def later() -> bool:
                return simulator.clock.now_ms() > last + 5 * MINUTE_MS

            await eventually(later, "five minutes pass")
            assert await asyncio.to_thread(program.stop, 15) == 0
        (left,) = program.events("candles_left_behind")
        assert left["candles"] >= 3
        async with running_feeder(own_database, simulator):
            connection = await db.connect(trouble.superuser, "test")

            async def found() -> bool:
                owed = (
                    "SELECT 1 FROM data_quality_logs WHERE event_type = 'gap' AND NOT resolved"
                    " AND $1 >= gap_start AND $1 < gap_end"
                )
                oldest = await connection.fetchval("SELECT max(time) FROM candles_1m WHERE time < $1", last)
                assert isoformat(oldest + MINUTE_MS) == left["oldest"]
                return bool(await connection.fetchval(owed, oldest + MINUTE_MS))

            await eventually(found, "the minutes left behind are in the ledger")
            await connection.close()


async def test_a_database_lost_while_the_start_still_waits_for_the_exchange_ends_nothing(
    postgres: OwnPostgres, own_database: DatabaseSettings
) -> None:
    trouble = Trouble(postgres, own_database)
    async with Simulator(config()) as simulator:
        connection = await db.connect(trouble.superuser, "test")
        await symbols.register(connection, {"BTCUSDT": "TRADING"}, now_ms=T0, history_days=1)
        await connection.execute("SELECT advance_market_clock($1)", T0)
        fault = simulator.faults.add("rest_status", status=503)
        async with running_feeder(own_database, simulator) as health:

            async def streaming() -> bool:
                return bool(fault.fired >= 2 and await connection.fetchval("SELECT count(*) FROM candles_1m"))

            await eventually(streaming, "candles though REST is down")
            for application in ("start", "features", "audit", "writer"):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                    f"data-feeder-{application}",
                )
            simulator.faults.clear()
            await comes_back(health, connection)

            async def confirmed() -> bool:
                return bool(await connection.fetchval("SELECT exchange = 'simulator' FROM platform_state"))

            await eventually(confirmed, "whose candles these are")
        await connection.close()


async def test_features_without_rights_are_named_and_made_up_for(
    postgres: OwnPostgres, own_database: DatabaseSettings
) -> None:
    trouble = Trouble(postgres, own_database)
    async with Simulator(config()) as simulator, running_feeder(own_database, simulator) as health:
        connection = await db.connect(trouble.superuser, "test")

        async def going() -> bool:
            return (await health())[1]["candles_processed"] >= 2

        await eventually(going, "candles before the trouble")
        await trouble.sql(
            f"REVOKE INSERT ON feature_values FROM {trouble.name}",
            f"REVOKE EXECUTE ON FUNCTION expected_range(text) FROM PUBLIC, {trouble.name}",
            trouble.cut,
        )

        told: set[str] = set()

        async def named() -> bool:
            reasons = (await health())[1]["reasons"]
            told.update(reason.split(":")[0] for reason in reasons if "42501" in reason)
            return told >= {"features", "audit"}

        await eventually(named, "features and audit say what is wrong", 40)
        await trouble.sql(
            f"GRANT INSERT ON feature_values TO {trouble.name}",
            f"GRANT EXECUTE ON FUNCTION expected_range(text) TO {trouble.name}",
        )
        await comes_back(health, connection)

        async def made_up_for() -> bool:
            same = "SELECT (SELECT count(*) FROM feature_values) = (SELECT count(*) FROM candles_1m)"
            return bool(await connection.fetchval(same))

        await eventually(made_up_for, "a feature row for each candle", 60)
        await connection.close()


@pytest.mark.parametrize(
    "code", ["08006", "25006", "40001", "40P01", "53100", "53200", "53300", "55P03", "57014", "57P01",
             "57P02", "57P03", "57P05", "58000", "58030"],
)  # fmt: skip
def test_what_passes_by_itself_is_waited_for(code: str) -> None:
    assert isinstance(asyncpg.PostgresError.new({"C": code, "M": "x", "S": "ERROR"}), db.TRANSIENT)


@pytest.mark.parametrize("code", ["28P01", "3D000", "42501", "42P01", "42883", "3F000"])
def test_what_an_operator_must_mend_is_told_apart(code: str) -> None:
    error = asyncpg.PostgresError.new({"C": code, "M": "x", "S": "ERROR"})
    assert isinstance(error, db.OPERATOR)
    assert not isinstance(error, db.TRANSIENT)
    assert code in db.explain(error)

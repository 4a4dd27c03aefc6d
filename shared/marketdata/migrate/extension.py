"""Bringing an extension up to its server's version, as TimescaleDB requires: first thing in a session."""

from __future__ import annotations

import asyncpg

from marketdata import database
from marketdata.errors import SchemaError
from marketdata.log import get_logger
from marketdata.settings import DatabaseSettings

log = get_logger(__name__)

_VERSIONS = """
SELECT e.extversion AS installed, a.default_version AS offered
FROM pg_extension AS e JOIN pg_available_extensions AS a ON a.name = e.extname
WHERE e.extname = $1
"""
_UPDATE = "SELECT format('ALTER EXTENSION %I UPDATE', $1::text)"


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split("-")[0].split(".") if part.isdigit()]


def is_newer(offered: str, installed: str) -> bool:
    """Whether a version such as ``2.29.2`` comes after another; a pre-release counts as its release."""
    return _parts(offered) > _parts(installed)


async def update(settings: DatabaseSettings, name: str = "timescaledb") -> str | None:
    """Update the extension where the server offers a newer one; the version it has now, None if unchanged.

    Raises ``SchemaError`` when the update fails. Where this role may not, the old version stays in use and
    a warning says so.
    """
    connection = await _unloaded(settings)
    try:
        versions = await connection.fetchrow(_VERSIONS, name)
        statement = await connection.fetchval(_UPDATE, name)
    finally:
        await connection.close()
    if versions is None or not is_newer(versions["offered"], versions["installed"]):
        return None
    # A session of its own, with nothing said before: whatever is asked first loads the old library.
    fresh = await asyncpg.connect(**database.connect_arguments(settings))
    try:
        await fresh.execute(statement, timeout=None)
    except asyncpg.InsufficientPrivilegeError:
        log.warning(
            "extension_outdated",
            message=f"{name} stays at {versions['installed']}: this role may not update it"
            f" to {versions['offered']}",
        )
        return None
    except asyncpg.PostgresError as error:
        # Another run may have been at the same.
        if not await _is_at(settings, name, versions["offered"]):
            raise SchemaError(
                [f"{name} {versions['installed']} could not be updated to {versions['offered']}: {error}"]
            ) from error
    finally:
        await fresh.close()
    log.info("extension_updated", name=name, before=versions["installed"], now=versions["offered"])
    return str(versions["offered"])


async def _unloaded(settings: DatabaseSettings) -> database.Connection:
    """A session that leaves TimescaleDB's library alone: the server may not have the installed version's."""
    arguments = database.connect_arguments(settings)
    arguments["server_settings"] = {**arguments["server_settings"], "timescaledb.disable_load": "on"}
    connection: database.Connection = await asyncpg.connect(**arguments)
    return connection


async def _is_at(settings: DatabaseSettings, name: str, version: str) -> bool:
    connection = await _unloaded(settings)
    try:
        versions = await connection.fetchrow(_VERSIONS, name)
        return versions is not None and versions["installed"] == version
    finally:
        await connection.close()

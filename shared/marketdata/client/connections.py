"""Connections for readers, and PostgreSQL's failures as this suite's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from marketdata.database import OPERATOR, TRANSIENT, Connection, Pool, connect_arguments, explain
from marketdata.errors import ConfigurationError, DatabaseUnavailableError, SchemaError
from marketdata.settings import DatabaseSettings

STATEMENT_SECONDS: Final = 60.0
"""Seconds one statement may take."""
_MISSING: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError)


def create_pool(settings: DatabaseSettings, size: int) -> Pool:
    """Return a pool that is initialised where it is awaited, and connects on first use.

    Times are aware datetimes here, exact to the microsecond that PostgreSQL keeps.
    """
    arguments = connect_arguments(settings)
    arguments["server_settings"] |= {"application_name": "marketdata-client"}
    return asyncpg.create_pool(**arguments, min_size=0, max_size=size, command_timeout=STATEMENT_SECONDS)


async def connect(settings: DatabaseSettings, *, command_timeout: float) -> Connection:
    """Open one connection. Raises asyncpg's errors."""
    arguments = connect_arguments(settings)
    arguments["server_settings"] |= {"application_name": "marketdata-subscription"}
    opened: Connection = await asyncpg.connect(**arguments, command_timeout=command_timeout)
    return opened


@contextmanager
def errors_of(settings: DatabaseSettings) -> Iterator[None]:
    """Raise ``ConfigurationError``, ``SchemaError`` or ``DatabaseUnavailableError`` for asyncpg's errors."""
    where = f"the database {settings.name} at {settings.host}:{settings.port}"
    try:
        yield
    except _MISSING as error:
        raise SchemaError([f"{where} has no schema this client knows: {explain(error)}"]) from error
    except OPERATOR as error:
        raise ConfigurationError(
            [f"{where} refuses {settings.user}: {explain(error)} (check the user, the password and the name)"]
        ) from error
    except TRANSIENT as error:
        if isinstance(error, ValueError):
            raise  # a value asyncpg cannot encode is the caller's, not the database's
        raise DatabaseUnavailableError(f"{where}: {explain(error)}") from error

"""Connections to PostgreSQL: waiting for it, the pool, times as Unix milliseconds, reads of one moment."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import asyncpg

from marketdata.clock import Clock, SystemClock
from marketdata.copyframe import POSTGRES_EPOCH_MS
from marketdata.errors import ConfigurationError, DatabaseUnavailableError
from marketdata.log import get_logger
from marketdata.settings import DatabaseSettings

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]
    Pool: TypeAlias = asyncpg.Pool[Any]
else:
    # asyncpg's classes are generic in their type stubs alone.
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

log = get_logger(__name__)

# What an operator must mend; waiting does not help.
_REFUSED: Final = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
OPERATOR: Final = (
    *_REFUSED,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
)
"""Refusals that last until somebody acts: no rights, no schema, no such database or role."""
COMMAND_TIMEOUT: Final = 60.0
"""Seconds a service gives one statement."""
_SERVER_GRACE: Final = 5.0
TRANSIENT: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,  # 08: broken, refused, gone
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a standby, or a disk set to read-only
    asyncpg.IdleInTransactionSessionTimeoutError,  # 25P03
    asyncpg.TransactionTimeoutError,  # 25P04
    asyncpg.TransactionRollbackError,  # 40: deadlock, serialization
    asyncpg.InsufficientResourcesError,  # 53: disk full, out of memory, too many connections
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55: a lock not to be had, a database closed for now
    asyncpg.OperatorInterventionError,  # 57: shut down, starting, cancelled, dropped
    asyncpg.PostgresSystemError,  # 58: input and output errors below PostgreSQL
    asyncpg.InterfaceError,
    # A pooled connection whose server has just ended it, asked before it has noticed.
    asyncpg.InternalClientError,
)
"""Failures of the database that pass: whoever meets one keeps its work and tries again."""


def explain(error: BaseException) -> str:
    """Return what went wrong in words for ``/health`` and the log, with PostgreSQL's code if it has one."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{error} ({error.sqlstate})"
    if isinstance(error, TimeoutError):
        return f"no answer in time{f': {error}' if str(error) else ''}"
    return f"{type(error).__name__}: {error}"


async def _set_codecs(connection: Connection) -> None:
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=lambda ms: ((ms - POSTGRES_EPOCH_MS) * 1000,),
        decoder=lambda parts: parts[0] // 1000 + POSTGRES_EPOCH_MS,
        format="tuple",
    )


def connect_arguments(settings: DatabaseSettings) -> dict[str, Any]:
    """Return asyncpg's arguments for these settings."""
    tls: Any = settings.sslmode
    if settings.sslmode == "require":
        # libpq's "require" encrypts without checking the certificate.
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    hosts = settings.host.split(",")
    return {
        "host": hosts if len(hosts) > 1 else settings.host,
        "port": settings.port,
        "user": settings.user,
        "password": settings.password or None,
        "database": settings.name,
        "ssl": None if hosts[0].startswith("/") else tls,
        # Which of several is the primary may change while we run: the one that takes writes.
        "target_session_attrs": "any" if len(hosts) == 1 else "read-write",
        "timeout": 10,
        "server_settings": {"timezone": "UTC"},
    }


async def connect(
    settings: DatabaseSettings, application: str, *, command_timeout: float | None = None
) -> Connection:
    """Open one connection whose ``timestamptz`` values are Unix milliseconds (``int``).

    A statement that takes longer than ``command_timeout`` seconds raises ``TimeoutError``: a server
    that vanished with a question in hand would be waited for without end. The server is told, too: it
    ends what nobody waits for any more, where each new try would leave one more behind a lock.
    """
    arguments = connect_arguments(settings)
    arguments["command_timeout"] = command_timeout
    arguments["server_settings"] = {**arguments["server_settings"], "application_name": application}
    connection: Connection = await asyncpg.connect(**arguments)
    await _set_codecs(connection)
    if command_timeout is not None:
        await connection.execute(
            "SELECT set_config('statement_timeout', $1, false),"
            " set_config('idle_in_transaction_session_timeout', $1, false)",
            f"{round((command_timeout + _SERVER_GRACE) * 1000)}ms",
        )
    return connection


async def create_pool(settings: DatabaseSettings, application: str, size: int) -> Pool:
    """Open a pool of up to ``size`` connections like ``connect``'s. It connects on first use."""
    arguments = connect_arguments(settings)
    arguments["server_settings"] = {
        **arguments["server_settings"],
        "application_name": application,
        # A process that is frozen in the middle of a transaction must not hold its locks for ever.
        "idle_in_transaction_session_timeout": "30s",
    }
    return await asyncpg.create_pool(
        **arguments, min_size=0, max_size=size, init=_set_codecs, command_timeout=COMMAND_TIMEOUT
    )


@asynccontextmanager
async def one_moment(connection: Connection) -> AsyncIterator[None]:
    """A read-only transaction that sees the database as of one moment.

    What ends it comes out as it is, a stop as a stop, even where it has cost the connection.
    """
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    try:
        yield
    except BaseException:
        # asyncpg's own block would put an error of its own in its place where the connection is lost.
        with suppress(asyncpg.InterfaceError):
            await transaction.rollback()
        raise
    await transaction.commit()


async def copy_out(connection: Connection, query: str, *arguments: Any) -> memoryview:
    """Return what ``query`` finds in binary COPY (``copyrows``). A stop in the middle loses the connection.

    Raises asyncpg's errors.
    """
    output = io.BytesIO()
    copying = asyncio.ensure_future(
        connection.copy_from_query(query, *arguments, output=output, format="binary")
    )
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        # asyncpg (0.32) does not always find back from a COPY that is cancelled itself: its next statement
        # fails ("another operation is in progress") or waits without end. Who is stopped needs it no more.
        connection.terminate()
        await asyncio.gather(copying, return_exceptions=True)
        raise
    return output.getbuffer()


async def wait_for_database(
    settings: DatabaseSettings, *, seconds: float = 60, clock: Clock | None = None
) -> None:
    """Return once the database answers.

    Raises ``ConfigurationError`` at once when it refuses the role, the password or the database's
    name, and ``DatabaseUnavailableError`` when it has not answered after ``seconds``.
    """
    clock = clock or SystemClock()
    deadline = clock.monotonic() + seconds
    waited = False
    while True:
        try:
            connection = await connect(settings, "marketdata-wait")
        except _REFUSED as error:
            raise ConfigurationError(
                [
                    f"the database at {settings.host}:{settings.port} refuses {settings.user}: {error}"
                    " (check DB_USER, DB_PASSWORD and DB_NAME)"
                ]
            ) from None
        except TRANSIENT as error:
            if clock.monotonic() >= deadline:
                waited_for = f" after {seconds:.0f} s" if seconds else ""
                raise DatabaseUnavailableError(
                    f"no database at {settings.host}:{settings.port}{waited_for}: {error}"
                ) from None
            if not waited:
                log.info("database_waiting", host=settings.host, port=settings.port, reason=str(error))
                waited = True
            await clock.sleep(0.5)
        else:
            connection.terminate()  # a polite close fails where the server has just ended it
            return

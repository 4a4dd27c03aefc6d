"""The instruments this database answers for, and whose market it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from marketdata.database import Connection
from marketdata.errors import SchemaError, WrongExchangeError
from marketdata.models import MINUTE_MS


async def register(
    connection: Connection, statuses: Mapping[str, str], *, now_ms: int, history_days: int
) -> None:
    """Write the instruments and their exchange status; a longer history moves their start back."""
    start = now_ms - now_ms % MINUTE_MS - history_days * 1440 * MINUTE_MS
    midnight = now_ms - now_ms % (1440 * MINUTE_MS)
    await connection.executemany(
        # Audited from its first day on: nights that pass before the first audit are made up for.
        "INSERT INTO symbols AS s (symbol, status, history_start, audited_until) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (symbol) DO UPDATE SET status = EXCLUDED.status, expected_until = NULL,"
        " history_start = least(s.history_start, EXCLUDED.history_start)",
        [(symbol, status, start, midnight) for symbol, status in sorted(statuses.items())],
    )


async def mark_delisted(connection: Connection, symbol: str) -> None:
    """Expect no further minute of an instrument the exchange no longer lists."""
    await connection.execute(
        "UPDATE symbols SET status = 'DELISTED', expected_until = coalesce(expected_until, market_now())"
        " WHERE symbol = $1",
        symbol,
    )


async def retire(connection: Connection, symbols: Sequence[str]) -> None:
    """Expect no further minute of instruments that are no longer captured; ``register`` undoes it."""
    await connection.execute(
        "UPDATE symbols SET expected_until = market_now()"
        " WHERE expected_until IS NULL AND symbol = ANY ($1::text[])",
        list(symbols),
    )


async def known(connection: Connection) -> set[str]:
    """Return every instrument ever registered."""
    return {record["symbol"] for record in await connection.fetch("SELECT symbol FROM symbols")}


async def claim_exchange(connection: Connection, exchange: str, *, setting: str = "BINANCE_API_URL") -> None:
    """Tie this database to ``binance`` or ``simulator``; ``setting`` names the address that answered.

    Raises ``WrongExchangeError`` when it holds the other's candles.
    """
    holder = await connection.fetchval(
        "UPDATE platform_state SET exchange = coalesce(exchange, $1) RETURNING exchange", exchange
    )
    if holder != exchange:
        raise WrongExchangeError(
            f"this database holds candles of {holder}, but {setting} is answered by {exchange}:"
            " real and simulated candles never share a database"
        )


async def check_schema(connection: Connection) -> str:
    """Return what the server is (``plain``, ``apache``, ``community``).

    Raises ``SchemaError`` when the schema is missing or its feature set is not this code's.
    """
    # Here, since the gap-handler, which claims an exchange too, has no features to compute.
    from marketdata.features.registry import FEATURE_VERSION, NAMES

    try:
        names = await connection.fetchval(
            "SELECT names FROM feature_sets WHERE version = $1", FEATURE_VERSION
        )
        kind = await connection.fetchval("SELECT server_kind()")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
        raise SchemaError(["the database has no schema yet: run python -m marketdata.migrate"]) from None
    if names is None or tuple(names) != tuple(NAMES):
        raise SchemaError(
            [f"feature set {FEATURE_VERSION} is not in the database: run python -m marketdata.migrate"]
        )
    return str(kind)

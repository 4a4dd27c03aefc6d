"""A migrated database with two symbols and some feature rows, and clients of the models' role on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from tests.conftest import READER_PASSWORD

from marketdata.client import AsyncClient, Client
from marketdata.database import Connection
from marketdata.features.engine import Result
from marketdata.features.registry import NAMES
from marketdata.minutes import isoformat, to_datetime
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, features, symbols

T0 = 1_795_262_400_000
"""2026-11-21T12:00:00Z."""


def minute(n: float) -> int:
    """Unix ms of the minute ``n`` after T0."""
    return T0 + int(n * MINUTE_MS)


def at(n: float) -> datetime:
    """The same instant as a user has it."""
    return to_datetime(minute(n))


def value(n: int, place: int) -> float:
    """What minute ``n`` holds in the feature at ``place``: all different, not defined in the second."""
    return float("nan") if place == 1 else n + place / 1000


async def insert(connection: Connection, symbol: str, minutes: Iterable[int]) -> None:
    """Commit feature rows, and say so of the newest as the feeder does."""
    wanted = list(minutes)
    values = np.array([[value(n, place) for place in range(len(NAMES))] for n in wanted])
    result = Result(
        np.array([minute(n) for n in wanted], dtype=np.int64),
        values,
        np.full(len(wanted), 0.5),
        np.ones(len(wanted), dtype=np.bool_),
    )
    async with connection.transaction():
        await features.insert(connection, [(symbol, result)], known_at=minute(max(wanted)) + 40)
        payload = json.dumps({"symbol": symbol, "time": isoformat(minute(max(wanted)))})
        await connection.execute("SELECT pg_notify('features', $1)", payload)


async def store(connection: Connection, symbol: str, minutes: Iterable[int]) -> None:
    """Commit candles."""
    rows = [
        candles.Row(
            Candle(symbol, minute(n), 1.0, 2.0, 0.5, 1.5 + n, 10.0, 15.0, 3 + n, 5.0, 7.5), minute(n + 1)
        )
        for n in minutes
    ]
    await candles.write(
        connection, [r._replace(candle=r.candle._replace(high=1e6)) for r in rows], source=Source.REST
    )


@pytest.fixture
async def market(connection: Connection) -> Connection:
    """The owner's connection to a database that knows BTCUSDT and ETHUSDT."""
    await connection.execute("SELECT advance_market_clock($1)", minute(0))
    trading = {"BTCUSDT": "TRADING", "ETHUSDT": "TRADING"}
    await symbols.register(connection, trading, now_ms=minute(5), history_days=1)
    return connection


@pytest.fixture
async def reader(market: Connection, database: DatabaseSettings) -> DatabaseSettings:
    """The same database for the models' role."""
    return replace(database, user="mlreader", password=READER_PASSWORD)


@pytest.fixture
async def client(reader: DatabaseSettings) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(reader) as opened:
        yield opened


@pytest.fixture
def blocking(reader: DatabaseSettings) -> Iterator[Client]:
    """The synchronous client, used where an event loop is running, as in a notebook."""
    with Client(reader) as opened:
        yield opened

"""A model is woken by its symbol's newest feature row, once, and by nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from tests.conftest import READER_PASSWORD
from tests.database.conftest import minute

from marketdata import database as db
from marketdata.database import Connection
from marketdata.features.engine import Result
from marketdata.features.registry import NAMES
from marketdata.minutes import isoformat
from marketdata.settings import DatabaseSettings
from marketdata.store import features


def rows(*minutes: int, value: float = 0.25) -> Result:
    n = len(minutes)
    return Result(
        np.array([minute(m) for m in minutes], dtype=np.int64),
        np.full((n, len(NAMES)), value),
        np.ones(n),
        np.ones(n, dtype=np.bool_),
    )


class Heard:
    """What a model has been told since it was last asked."""

    def __init__(self, market: Connection) -> None:
        self._market = market
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def take(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._queue.put_nowait(str(payload))

    async def news(self) -> list[tuple[str, str]]:
        """Everything up to now: what is sent last comes last."""
        await self._market.execute("SELECT pg_notify('features', 'end')")
        told: list[tuple[str, str]] = []
        while (payload := await asyncio.wait_for(self._queue.get(), 20)) != "end":
            said = json.loads(payload)
            assert list(said) == ["symbol", "time"]
            told.append((said["symbol"], said["time"]))
        return sorted(told)


@asynccontextmanager
async def model(settings: DatabaseSettings, market: Connection) -> AsyncIterator[Heard]:
    """A connection like a model's, that listens."""
    reader = await db.connect(replace(settings, user="mlreader", password=READER_PASSWORD), "test-model")
    heard = Heard(market)
    await reader.add_listener("features", heard.take)
    try:
        yield heard
    finally:
        await reader.close()


async def test_each_symbols_newest_row_is_told_once(database: DatabaseSettings, market: Connection) -> None:
    async with model(database, market) as heard:
        both: features.Results = [(["BTCUSDT", "ETHUSDT"], rows(5, 5)), ("SOLUSDT", rows(3, 4, 5))]
        await features.insert(market, both, known_at=0)
        told = [(symbol, "2023-03-24T00:05:00Z") for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
        assert await heard.news() == told
        assert isoformat(minute(5)) == told[0][1]
        await features.insert(market, both, known_at=0)
        assert await heard.news() == [], "they were there already"


async def test_a_symbol_is_told_of_though_others_are_ahead(
    database: DatabaseSettings, market: Connection
) -> None:
    async with model(database, market) as heard:
        await features.insert(market, [("BTCUSDT", rows(5))], known_at=0)
        await features.insert(market, [("ETHUSDT", rows(4))], known_at=0)
        assert await heard.news() == [("BTCUSDT", isoformat(minute(5))), ("ETHUSDT", isoformat(minute(4)))]


async def test_a_newest_row_that_is_computed_again_first_is_told_too(
    database: DatabaseSettings, market: Connection
) -> None:
    async with model(database, market) as heard:
        await features.insert(market, [("BTCUSDT", rows(5))], known_at=0)
        await heard.news()
        await features.replace(market, "BTCUSDT", rows(5, 6, 7, value=0.5), known_at=0)
        assert await heard.news() == [("BTCUSDT", isoformat(minute(7)))]
        await features.insert(market, [("BTCUSDT", rows(7))], known_at=0)
        assert await heard.news() == []


async def test_repairs_and_history_wake_nobody(database: DatabaseSettings, market: Connection) -> None:
    async with model(database, market) as heard:
        await features.insert(market, [("BTCUSDT", rows(5))], known_at=0)
        await heard.news()
        await features.replace(market, "BTCUSDT", rows(5, value=0.5), known_at=0)
        await features.replace(market, "BTCUSDT", rows(2, 3, 4), known_at=0)
        await features.insert(market, [("BTCUSDT", rows(1))], known_at=0)
        assert await heard.news() == []


async def test_a_row_that_is_rolled_back_is_never_told(
    database: DatabaseSettings, market: Connection
) -> None:
    async with model(database, market) as heard:
        transaction = market.transaction()
        await transaction.start()
        await features.insert(market, [("BTCUSDT", rows(5))], known_at=0)
        await transaction.rollback()
        assert await heard.news() == []
        assert await market.fetchval("SELECT count(*) FROM feature_values") == 0

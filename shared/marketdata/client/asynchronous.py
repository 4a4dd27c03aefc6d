"""The client for asyncio. ``Client`` is the same for everybody else."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import date
from types import TracebackType
from typing import Any, Final, Self, cast

from marketdata.address import from_dsn, from_environment
from marketdata.client import ranges
from marketdata.client.connections import create_pool, errors_of
from marketdata.client.instants import Instant, to_instant
from marketdata.client.models import Accuracy, FeatureName, FeatureRow, Written
from marketdata.client.predictions import Prediction, to_columns
from marketdata.client.queries import QUERIES
from marketdata.client.selection import choose, listed, require
from marketdata.client.subscription import HEARTBEAT_SECONDS, Subscription, to_row
from marketdata.client.table import Table
from marketdata.database import TRANSIENT, Connection, Pool
from marketdata.errors import RequestError
from marketdata.log import get_logger
from marketdata.settings import DatabaseSettings

Symbols = str | Iterable[str]
POOL_SIZE: Final = 4
"""Most questions of one client at the database at a time; more wait."""
_CLOSE_SECONDS: Final = 5.0
_GROUP: Final = re.compile(r"; group: (\w+)")


log = get_logger(__name__)


class AsyncClient:
    """Reads the database and writes predictions; ``async with AsyncClient() as client``.

    ``dsn`` is a ``postgresql://`` URL, or the ``DatabaseSettings`` themselves; without it the environment
    says where the database is (``DB_HOST``, ``DB_PORT``, ``DB_NAME``, ``DB_USER``, ``DB_PASSWORD``,
    ``DB_SSLMODE``; ``MLREADER_PASSWORD`` makes it the models' role). It connects when it is first asked.

    Every method raises ``RequestError`` for a question that can't be meant, ``DatabaseUnavailableError``
    where the database can't be reached or works for over 60 s, ``ConfigurationError`` where it refuses, and
    ``SchemaError`` where it lacks what is asked for. No message holds a password.
    """

    def __init__(
        self, dsn: str | DatabaseSettings | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        if isinstance(dsn, DatabaseSettings):
            self.settings = dsn
        elif dsn is not None:
            self.settings = from_dsn(dsn)
        else:
            self.settings = from_environment(os.environ if environment is None else environment)
        self._pool: Pool | None = None
        self._closed = False
        self._subscriptions: set[Subscription] = set()

    def __repr__(self) -> str:
        s = self.settings
        return f"{type(self).__name__}({s.user}@{s.host}:{s.port}/{s.name})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End subscriptions and connections. A closed client answers nothing more."""
        self._closed = True
        for subscription in list(self._subscriptions):
            await subscription.close()
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except TRANSIENT as error:
                # The pool has ended its connections without a word, which is all there is left to do.
                log.debug("client_closed_hard", reason=str(error))

    async def symbols(self) -> list[str]:
        """The instruments of this database."""
        async with self._connection() as connection:
            return [r["symbol"] for r in await connection.fetch(QUERIES["symbols"])]

    async def feature_names(self) -> list[FeatureName]:
        """The features this database has, in the order of its columns, whatever this package knows of."""
        async with self._connection() as connection:
            return await _feature_names(connection)

    async def latest(self, symbol: str, time: Instant | None = None) -> FeatureRow | None:
        """The newest row of ``symbol``, or that of the instant ``time``; None where there is none."""
        at = None if time is None else to_instant(time, "time")
        (symbol,) = listed([symbol], "symbol")
        async with self._connection() as connection:
            record = await connection.fetchrow(QUERIES["latest"], symbol, at)
            if record is None:
                await _require_symbols(connection, [symbol])
        return None if record is None else to_row(record)

    async def features(
        self,
        symbols: Symbols,
        start: Instant,
        end: Instant,
        names: Iterable[str] | None = None,
        groups: Iterable[str] | None = None,
    ) -> Table:
        """Feature rows of ``[start, end)``: the features ``names``, those of ``groups``, or all.

        Columns: ``symbol``, ``time``, the features, ``window_coverage``, ``feature_version``, ``known_at``.
        """
        wanted, first, last = _range(symbols, start, end)
        async with self._connection() as connection:
            chosen = choose(await _feature_names(connection), names, groups)
            await _require_symbols(connection, wanted)
            return await ranges.read_features(connection, wanted, first, last, chosen)

    async def candles(self, symbols: Symbols, start: Instant, end: Instant) -> Table:
        """Candles that open in ``[start, end)``, as ``candles_1m`` has them; a missing minute has no row."""
        wanted, first, last = _range(symbols, start, end)
        async with self._connection() as connection:
            await _require_symbols(connection, wanted)
            return await ranges.read_candles(connection, wanted, first, last)

    def subscribe(
        self,
        symbols: Symbols | None = None,
        since: Instant | None = None,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> Subscription:
        """New rows of ``symbols``, or of all, as they are committed; after ``since`` where it is given.

        ``heartbeat`` is the number of seconds of silence after which the database is asked anyway.
        """
        self._require_open()
        if not heartbeat > 0:
            raise RequestError(f"heartbeat must be seconds above 0, got {heartbeat!r}")
        subscription = Subscription(
            self.settings,
            None if symbols is None else _several(symbols),
            None if since is None else to_instant(since, "since"),
            heartbeat,
            self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        return subscription

    async def predict(
        self,
        symbol: str,
        time: Instant,
        model: str,
        horizon_minutes: int,
        predicted: float,
        confidence: float | None = None,
        features_time: Instant | None = None,
    ) -> bool:
        """Write one prediction; return whether it is new. See ``Prediction`` and ``write_predictions``."""
        row = Prediction(symbol, time, model, horizon_minutes, predicted, confidence, features_time)
        return (await self.write_predictions([row])).new == 1

    async def write_predictions(self, rows: Iterable[Prediction | Mapping[str, Any]]) -> Written:
        """Write predictions, all or none, and return how many were new.

        A prediction whose symbol, time, model and horizon are there already stays as it was first written,
        so writing again is safe, also after a ``DatabaseUnavailableError`` that leaves open what was written.
        Raises ``RequestError`` that names the first row which can't be one.
        """
        columns = to_columns(rows)
        sent = len(columns[0])
        if not sent:
            return Written(0, 0)
        async with self._connection() as connection:
            status = await connection.execute(QUERIES["write_predictions"], *columns)
        new = int(status.rsplit(" ", 1)[1])
        return Written(new, sent - new)

    async def accuracy(
        self,
        model: str | None = None,
        symbol: str | None = None,
        horizon_minutes: int | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> list[Accuracy]:
        """Rows of ``prediction_accuracy`` by day: of a model, symbol or horizon, of the days [start, end)."""
        days = [None if day is None else to_instant(day, "a day").date() for day in (start, end)]
        async with self._connection() as connection:
            records = await connection.fetch(QUERIES["accuracy"], model, symbol, horizon_minutes, *days)
        return [Accuracy(*r) for r in records]

    def _require_open(self) -> None:
        if self._closed:
            raise RequestError("this client is closed")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        self._require_open()
        with errors_of(self.settings):
            if self._pool is None:
                self._pool = create_pool(self.settings, POOL_SIZE)
            await self._pool
            async with self._pool.acquire() as connection:
                yield cast(Connection, connection)


async def _feature_names(connection: Connection) -> list[FeatureName]:
    found = []
    for record in await connection.fetch(QUERIES["feature_names"]):
        group = _GROUP.search(record["description"])
        found.append(FeatureName(record["name"], group[1] if group else "", record["description"]))
    return found


async def _require_symbols(connection: Connection, wanted: list[str]) -> None:
    known = [r["symbol"] for r in await connection.fetch(QUERIES["symbols"])]
    for symbol in wanted:
        require(symbol, known, "symbol")


def _several(symbols: Symbols) -> list[str]:
    found = list(dict.fromkeys(listed(symbols, "symbols")))
    if not found:
        raise RequestError("no symbol was asked for")
    return found


def _range(symbols: Symbols, start: Instant, end: Instant) -> tuple[list[str], Any, Any]:
    first, last = to_instant(start, "start"), to_instant(end, "end")
    if last < first:
        raise RequestError(f"end {last} lies before start {first}")
    return _several(symbols), first, last

"""The client for code without an event loop, notebooks included: ``AsyncClient`` in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from types import TracebackType
from typing import Any, Self

from marketdata.client.asynchronous import AsyncClient, Symbols
from marketdata.client.instants import Instant
from marketdata.client.loop import LoopThread
from marketdata.client.models import Accuracy, FeatureName, FeatureRow, Written
from marketdata.client.predictions import Prediction
from marketdata.client.stream import Stream
from marketdata.client.subscription import HEARTBEAT_SECONDS
from marketdata.client.table import Table
from marketdata.settings import DatabaseSettings


class Client:
    """Reads the database and writes predictions; ``with Client() as client``. Several threads may share it.

    Its arguments, methods and errors are those of ``AsyncClient``.
    """

    def __init__(
        self, dsn: str | DatabaseSettings | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._client = AsyncClient(dsn, environment=environment)
        self._loop = LoopThread("marketdata-client")

    @property
    def settings(self) -> DatabaseSettings:
        """Where the database is."""
        return self._client.settings

    def __repr__(self) -> str:
        return repr(self._client).removeprefix("Async")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End subscriptions, connections and the thread. A closed client answers nothing more."""
        if self._loop.running:
            self._loop.run(self._client.close())
            self._loop.stop()

    def symbols(self) -> list[str]:
        """The instruments of this database."""
        return self._loop.run(self._client.symbols())

    def feature_names(self) -> list[FeatureName]:
        """The features this database has, in the order of its columns, whatever this package knows of."""
        return self._loop.run(self._client.feature_names())

    def latest(self, symbol: str, time: Instant | None = None) -> FeatureRow | None:
        """The newest row of ``symbol``, or that of the instant ``time``; None where there is none."""
        return self._loop.run(self._client.latest(symbol, time))

    def features(
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
        return self._loop.run(self._client.features(symbols, start, end, names, groups))

    def candles(self, symbols: Symbols, start: Instant, end: Instant) -> Table:
        """Candles that open in ``[start, end)``, as ``candles_1m`` has them; a missing minute has no row."""
        return self._loop.run(self._client.candles(symbols, start, end))

    def subscribe(
        self,
        symbols: Symbols | None = None,
        since: Instant | None = None,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> Stream:
        """New rows of ``symbols``, or of all, as they are committed; after ``since`` where it is given.

        ``heartbeat`` is the number of seconds of silence after which the database is asked anyway.
        """

        async def begun() -> Stream:
            subscription = self._client.subscribe(symbols, since, heartbeat=heartbeat)
            try:
                await subscription.open()
            except BaseException:
                await subscription.close()
                raise
            return Stream(subscription, self._loop)

        return self._loop.run(begun())

    def predict(
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
        return self._loop.run(
            self._client.predict(symbol, time, model, horizon_minutes, predicted, confidence, features_time)
        )

    def write_predictions(self, rows: Iterable[Prediction | Mapping[str, Any]]) -> Written:
        """Write predictions, all or none, and return how many were new.

        A prediction whose symbol, time, model and horizon are there already stays as it was first written,
        so writing again is safe, also after a ``DatabaseUnavailableError`` that leaves open what was written.
        Raises ``RequestError`` that names the first row which can't be one.
        """
        return self._loop.run(self._client.write_predictions(list(rows)))

    def accuracy(
        self,
        model: str | None = None,
        symbol: str | None = None,
        horizon_minutes: int | None = None,
        start: date | None = None,
        end: date | None = None,
    ) -> list[Accuracy]:
        """Rows of ``prediction_accuracy`` by day: of a model, symbol or horizon, of the days [start, end)."""
        return self._loop.run(self._client.accuracy(model, symbol, horizon_minutes, start, end))

"""New feature rows as they are committed: told by NOTIFY, read from the table, remembered by time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from marketdata.backoff import delays
from marketdata.client.connections import connect, errors_of
from marketdata.client.models import FeatureRow
from marketdata.client.queries import QUERIES
from marketdata.client.selection import require
from marketdata.database import Connection
from marketdata.errors import DatabaseUnavailableError
from marketdata.settings import DatabaseSettings

CHANNEL: Final = "features"
PAGE_ROWS: Final = 256
"""Most rows in memory at a time."""
HEARTBEAT_SECONDS: Final = 15.0
"""After so much silence the database is asked: a dead server is noticed, and a lost message made good."""
ANSWER_SECONDS: Final = 10.0
"""What the database has for an answer before it counts as dead."""
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = logging.getLogger(__name__)


class Subscription:
    """An asynchronous iterator of new rows: ``async for row in client.subscribe("BTCUSDT")``.

    It begins when it is entered (``async with``) or first asked: rows committed from then on are given,
    or those after ``since``. A symbol's rows come in order of time, each once; one that is committed
    after a later one was given (a repair of the past, or of a time when the platform was down) is not
    given. The message is only a nudge: rows are read from the table, from the last one given, so neither
    a lost connection nor a slow consumer loses any. Rows that nobody has asked for wait in the database,
    which keeps them a month; memory holds ``PAGE_ROWS`` at most.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        symbols: Sequence[str] | None,
        since: datetime | None,
        heartbeat: float = HEARTBEAT_SECONDS,
        on_close: Callable[[Subscription], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._on_close = on_close
        self._wanted = None if symbols is None else sorted(set(symbols))
        self._since = since
        self._heartbeat = heartbeat
        self._begun = False
        self._connection: Connection | None = None
        self._given: dict[str, datetime] = {}
        """The time of the last row read of each symbol."""
        self._floor = _FIRST
        """Where a symbol begins that comes later."""
        self._due: set[str] = set()
        """Symbols that may have rows after the last one read."""
        self._look = False
        """Whether every symbol is to be looked at."""
        self._rows: deque[FeatureRow] = deque()
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._one = asyncio.Lock()
        self._delays = delays()

    async def open(self) -> None:
        """Begin. Raises ``RequestError`` for an unknown symbol, and what the first connection meets."""
        async with self._one:
            if self._begun or self._closing.is_set():
                return
            try:
                with errors_of(self._settings):
                    await self._begin(await self._connect())
            except DatabaseUnavailableError:
                self._drop()
                if not self._closing.is_set():
                    raise
            except BaseException:
                self._drop()
                raise

    async def close(self) -> None:
        """End it: whoever waits for a row is told that there are no more."""
        self._closing.set()
        self._woken.set()
        self._drop()
        self._on_close(self)

    async def next_row(self) -> FeatureRow | None:
        """Return the next row, waiting for it; None once closed. Cancelling it loses no row.

        A broken connection is made again without end. Raises ``ConfigurationError`` where the database
        refuses the role.
        """
        await self.open()
        async with self._one:
            while not self._rows and not self._closing.is_set():
                try:
                    with errors_of(self._settings):
                        await self._step()
                except DatabaseUnavailableError as error:
                    await self._lost(error)
            return None if self._closing.is_set() else self._rows.popleft()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FeatureRow:
        row = await self.next_row()
        if row is None:
            raise StopAsyncIteration
        return row

    async def _connect(self) -> Connection:
        """Connect and listen; what was committed before is still to be looked at."""
        opened = await connect(self._settings, command_timeout=ANSWER_SECONDS)
        try:
            opened.add_termination_listener(self._wake)
            await opened.add_listener(CHANNEL, self._hear)
        except BaseException:
            opened.terminate()
            raise
        self._connection, self._look = opened, True
        if self._closing.is_set():
            self._drop()
        return opened

    async def _begin(self, connection: Connection) -> None:
        records = await connection.fetch(QUERIES["newest_rows"], self._wanted)
        newest: dict[str, datetime | None] = {r["symbol"]: r["newest"] for r in records}
        if self._wanted is not None and len(newest) < len(self._wanted):
            known = [r["symbol"] for r in await connection.fetch(QUERIES["symbols"])]
            for symbol in self._wanted:
                require(symbol, known, "symbol")
        self._floor = self._since or max((t for t in newest.values() if t is not None), default=_FIRST)
        # A symbol without a row may just be about to have its first, of that same minute.
        first = self._since or max(self._floor - timedelta(minutes=1), _FIRST)
        self._given = {symbol: self._since or time or first for symbol, time in newest.items()}
        self._begun = True

    async def _step(self) -> None:
        """Do the next thing there is to do: connect, look, read, or wait."""
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await self._connect()
        self._woken.clear()
        if self._look:
            await self._look_around(connection)
        elif self._due:
            await self._read(connection)
        else:
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._woken.wait()
            except TimeoutError:
                self._look = True
            return
        self._delays = delays()

    async def _look_around(self, connection: Connection) -> None:
        records = await connection.fetch(QUERIES["newest_rows"], self._wanted)
        for record in records:
            given = self._given.setdefault(record["symbol"], self._floor)
            if record["newest"] is not None and record["newest"] > given:
                self._due.add(record["symbol"])
        self._look = False

    async def _read(self, connection: Connection) -> None:
        asked = sorted(self._due)
        # Emptied before the question: a message that comes meanwhile is for the next one.
        self._due.clear()
        try:
            records = await connection.fetch(
                QUERIES["rows_after"], asked, [self._given[symbol] for symbol in asked], PAGE_ROWS
            )
        except BaseException:
            self._due.update(asked)
            raise
        if len(records) == PAGE_ROWS:
            self._due.update(asked)
        for record in records:
            row = to_row(record)
            self._rows.append(row)
            self._given[row.symbol] = row.time

    def _hear(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        try:
            symbol = json.loads(str(payload))["symbol"]
        except (ValueError, TypeError, KeyError):
            symbol = None  # anybody may speak here
        if isinstance(symbol, str) and symbol in self._given:
            self._due.add(symbol)
        elif self._wanted is None:
            self._look = True
        else:
            return
        self._woken.set()

    def _wake(self, connection: Any) -> None:
        self._woken.set()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _lost(self, error: Exception) -> None:
        self._drop()
        if self._closing.is_set():
            return
        seconds = next(self._delays)
        # A sentence, not an event: a program that set up no logging prints the bare message.
        log.warning("the subscription lost its connection, trying again in %.1f s: %s", seconds, error)
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass


def to_row(record: Mapping[str, Any]) -> FeatureRow:
    """Return a record of ``latest.sql`` or ``rows_after.sql`` as a row."""
    return FeatureRow(
        record["symbol"], record["time"], dict(zip(record["names"], record["values"], strict=True)),
        record["window_coverage"], record["known_at"], record["feature_version"],
    )  # fmt: skip

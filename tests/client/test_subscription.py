"""New rows as they are committed: each once, in order, none lost, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.client.conftest import at, insert, minute
from tests.processes import until

from marketdata.client import AsyncClient, FeatureRow, Subscription, subscription
from marketdata.database import Connection
from marketdata.errors import ConfigurationError, DatabaseUnavailableError, RequestError
from marketdata.features.registry import NAMES
from marketdata.settings import DatabaseSettings

LONG = 3600.0
"""A heartbeat that is never heard: what comes, comes by message."""
BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'marketdata-subscription'"
    " AND datname = current_database()"
)


async def take(rows: Subscription, n: int, seconds: float = 60) -> list[FeatureRow]:
    """Return the next ``n`` rows."""
    async with asyncio.timeout(seconds):
        return [await anext(rows) for _ in range(n)]


def keys(rows: list[FeatureRow]) -> list[tuple[str, float]]:
    """Return each row's symbol and minute."""
    return [(row.symbol, (row.time - at(0)).total_seconds() / 60) for row in rows]


async def nothing_comes(rows: Subscription, market: Connection) -> None:
    """Fail if a row that is not new is given: of another symbol's next row nothing may come before it."""
    await insert(market, "ETHUSDT", [500])
    assert keys(await take(rows, 1)) == [("ETHUSDT", 500)]


async def killed(market: Connection) -> None:
    """End the subscription's session and return when it is gone."""
    assert await market.fetchval(f"SELECT count(pg_terminate_backend(pid)) FROM ({BACKENDS}) AS b") == 1

    async def gone() -> bool:
        return not await market.fetch(BACKENDS)

    await until(gone, seconds=30, what="the session is gone")


async def test_rows_come_as_they_are_committed(market: Connection, client: AsyncClient) -> None:
    await insert(market, "BTCUSDT", [0])
    async with client.subscribe(heartbeat=LONG) as rows:
        await insert(market, "BTCUSDT", [1])
        (row,) = await take(rows, 1)
        assert (row.symbol, row.time, row.window_coverage) == ("BTCUSDT", at(1), 0.5)
        assert list(row.features) == list(NAMES)
        assert row.features[NAMES[0]] == 1.0
        assert row.features[NAMES[1]] is None
        assert row.known_at.timestamp() * 1000 == minute(1) + 40
        waiting = asyncio.create_task(take(rows, 3))
        await insert(market, "ETHUSDT", [2])
        await insert(market, "BTCUSDT", [2, 3])
        assert sorted(keys(await waiting)) == [("BTCUSDT", 2), ("BTCUSDT", 3), ("ETHUSDT", 2)]


async def test_only_the_symbols_asked_for(market: Connection, client: AsyncClient) -> None:
    async with client.subscribe("ETHUSDT", heartbeat=LONG) as rows:
        await insert(market, "BTCUSDT", [1])
        await insert(market, "ETHUSDT", [1])
        assert keys(await take(rows, 1)) == [("ETHUSDT", 1)]


async def test_each_once_and_no_repair_of_the_past(market: Connection, client: AsyncClient) -> None:
    async with client.subscribe(heartbeat=LONG) as rows:
        await insert(market, "BTCUSDT", [5])
        assert keys(await take(rows, 1)) == [("BTCUSDT", 5)]
        await insert(market, "BTCUSDT", [5])
        await insert(market, "BTCUSDT", [4])
        await nothing_comes(rows, market)


async def test_since_begins_where_a_program_left_off(market: Connection, client: AsyncClient) -> None:
    await insert(market, "BTCUSDT", range(5))
    await insert(market, "ETHUSDT", range(3))
    async with client.subscribe(since=at(1), heartbeat=LONG) as rows:
        assert keys(await take(rows, 4)) == [("BTCUSDT", 2), ("ETHUSDT", 2), ("BTCUSDT", 3), ("BTCUSDT", 4)]


async def test_a_symbol_that_comes_later_begins_with_its_new_rows(
    market: Connection, client: AsyncClient
) -> None:
    await insert(market, "BTCUSDT", [3])
    async with client.subscribe(heartbeat=LONG) as rows:
        await market.execute(
            "INSERT INTO symbols (symbol, status, history_start) VALUES ('SOLUSDT', 'TRADING', $1)", minute(0)
        )
        await insert(market, "SOLUSDT", range(1, 5))
        assert keys(await take(rows, 1)) == [("SOLUSDT", 4)]


async def test_what_others_say_on_the_channel_is_no_harm(market: Connection, client: AsyncClient) -> None:
    async with client.subscribe(heartbeat=LONG) as rows, client.subscribe("BTCUSDT", heartbeat=LONG) as one:
        for payload in (
            "",
            "{",
            "[]",
            '{"symbol": 7}',
            '{"symbol": "NONE"}',
            '{"symbol": ["BTCUSDT"]}',
            "null",
        ):
            await market.execute("SELECT pg_notify('features', $1)", payload)
        await insert(market, "BTCUSDT", [1])
        assert keys(await take(rows, 1)) == keys(await take(one, 1)) == [("BTCUSDT", 1)]


async def test_a_row_nobody_spoke_of_comes_with_the_heartbeat(
    market: Connection, client: AsyncClient
) -> None:
    async with client.subscribe(heartbeat=0.2) as rows:
        await insert(market, "BTCUSDT", [1])
        assert keys(await take(rows, 1)) == [("BTCUSDT", 1)]
        await market.execute(
            "INSERT INTO feature_values SELECT symbol, time + n * interval '1 minute', feature_version,"
            " values, window_coverage, known_at FROM feature_values, generate_series(1, 2) AS n"
        )
        assert keys(await take(rows, 2)) == [("BTCUSDT", 2), ("BTCUSDT", 3)]


@asynccontextmanager
async def away(market: Connection) -> AsyncIterator[None]:
    """Kill the subscription's session and let none in until the end."""
    name = await market.fetchval("SELECT current_database()")
    await market.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    await killed(market)
    yield
    await market.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')


async def test_a_killed_session_loses_and_repeats_nothing(market: Connection, client: AsyncClient) -> None:
    async with client.subscribe(heartbeat=LONG) as rows:
        await insert(market, "BTCUSDT", [1, 2])
        assert keys(await take(rows, 2)) == [("BTCUSDT", 1), ("BTCUSDT", 2)]
        waiting = asyncio.create_task(take(rows, 4))
        async with away(market):
            await insert(market, "BTCUSDT", range(1, 6))
            await insert(market, "ETHUSDT", [5])
        assert keys(await waiting) == [("BTCUSDT", 3), ("BTCUSDT", 4), ("BTCUSDT", 5), ("ETHUSDT", 5)]
        await insert(market, "BTCUSDT", [6])
        assert keys(await take(rows, 1)) == [("BTCUSDT", 6)]


async def test_a_lost_connection_is_told_in_words(
    market: Connection, client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever set up no logging sees the bare message."""

    async def told() -> bool:
        return bool(caplog.messages)

    async with client.subscribe(heartbeat=LONG) as rows:
        waiting = asyncio.create_task(take(rows, 1))
        async with away(market):
            await until(told, seconds=30, what="it says so")
        await insert(market, "BTCUSDT", [1])
        await waiting
    assert "the subscription lost its connection, trying again in " in caplog.messages[0]


async def test_a_session_killed_between_two_rows_loses_neither(
    market: Connection, client: AsyncClient
) -> None:
    async with client.subscribe(heartbeat=LONG) as rows:
        await insert(market, "BTCUSDT", [1, 2])
        assert keys(await take(rows, 1)) == [("BTCUSDT", 1)]
        async with away(market):
            await insert(market, "BTCUSDT", [3])
        assert keys(await take(rows, 2)) == [("BTCUSDT", 2), ("BTCUSDT", 3)]


async def test_a_slow_consumer_gets_every_row_late_out_of_bounded_memory(
    market: Connection, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "PAGE_ROWS", 8)
    async with client.subscribe(heartbeat=LONG) as rows:
        for n in range(1, 60):
            await insert(market, "BTCUSDT", [n])
        got = []
        for _ in range(59):
            got += await take(rows, 1)
            assert len(rows._rows) < 8
        assert keys(got) == [("BTCUSDT", n) for n in range(1, 60)]
        await insert(market, "BTCUSDT", [60])
        assert keys(await take(rows, 1)) == [("BTCUSDT", 60)]


async def test_giving_up_waiting_loses_no_row(market: Connection, client: AsyncClient) -> None:
    async with client.subscribe(heartbeat=LONG) as rows:
        for n in range(1, 30):
            # Cancelled at every stage of the question, wherever that is.
            waiting = asyncio.create_task(rows.next_row())
            await insert(market, "BTCUSDT", [n])
            for _ in range(n):
                await asyncio.sleep(0)
            if not waiting.done():
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            if waiting.cancelled():
                assert keys(await take(rows, 1)) == [("BTCUSDT", n)]
            else:
                assert keys([row for row in [await waiting] if row]) == [("BTCUSDT", n)]


class Wall:
    """A way to the database that can stop carrying anything without saying so."""

    def __init__(self, target: DatabaseSettings) -> None:
        self._target = target
        self._carries = asyncio.Event()
        self._carries.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> DatabaseSettings:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return replace(self._target, host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow(self) -> None:
        """From now on nothing arrives, on connections that stay open."""
        self._carries.clear()

    def carry(self) -> None:
        """New connections are carried again; the old ones stay dead."""
        for task in self._tasks:
            task.cancel()
        self._carries.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        t = self._target
        if t.host.startswith("/"):
            there = await asyncio.open_unix_connection(str(Path(t.host) / f".s.PGSQL.{t.port}"))
        else:
            there = await asyncio.open_connection(t.host, t.port)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._carries.wait()
            sink.write(data)
            await sink.drain()
        sink.close()


async def test_a_server_that_fell_silent_is_noticed(
    market: Connection, reader: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "ANSWER_SECONDS", 2.0)
    wall = Wall(replace(reader, sslmode="disable"))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(await stack.enter_async_context(wall)))
        async with client.subscribe(heartbeat=0.5) as rows:
            await insert(market, "BTCUSDT", [1])
            assert keys(await take(rows, 1)) == [("BTCUSDT", 1)]
            wall.swallow()
            waiting = asyncio.create_task(take(rows, 2))
            await insert(market, "BTCUSDT", [2, 3])

            async def tried_again() -> bool:
                return wall.connections > 1

            await until(tried_again, seconds=60, what="another connection")
            wall.carry()
            assert keys(await waiting) == [("BTCUSDT", 2), ("BTCUSDT", 3)]


async def test_closing_ends_whoever_waits(market: Connection, client: AsyncClient) -> None:
    rows = client.subscribe(heartbeat=LONG)
    await rows.open()
    waiting = asyncio.create_task(rows.next_row())
    await insert(market, "BTCUSDT", [1])
    assert await waiting is not None
    waiting = asyncio.create_task(rows.next_row())
    await asyncio.sleep(0)
    await client.close()
    assert await waiting is None
    assert [row async for row in rows] == []

    async def gone() -> bool:
        return not await market.fetch(BACKENDS)

    await until(gone, seconds=30, what="the session is gone")


async def test_closing_while_it_begins_is_an_end_and_no_error(
    market: Connection, client: AsyncClient
) -> None:
    for steps in range(0, 60, 3):
        rows = client.subscribe(heartbeat=LONG)
        waiting = asyncio.create_task(rows.next_row())
        for _ in range(steps):
            await asyncio.sleep(0)
        await rows.close()
        async with asyncio.timeout(30):
            assert await waiting is None
    # Where the server is slow, at each stage of it.
    for answers in range(1, 12):
        rows = client.subscribe(heartbeat=LONG)
        waiting = asyncio.create_task(rows.next_row())
        for _ in range(answers):
            await market.fetchval("SELECT pg_sleep(0.002)")
        await rows.close()
        async with asyncio.timeout(30):
            assert await waiting is None


async def test_closing_ends_the_wait_for_a_dead_database(market: Connection, client: AsyncClient) -> None:
    rows = client.subscribe()
    await rows.open()
    name = await market.fetchval("SELECT current_database()")
    await market.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    waiting = asyncio.create_task(rows.next_row())
    await killed(market)
    await rows.close()
    async with asyncio.timeout(30):
        assert await waiting is None


async def test_an_unknown_symbol_is_refused(client: AsyncClient) -> None:
    with pytest.raises(RequestError, match="no symbol 'BTCUSD': did you mean BTCUSDT"):
        await client.subscribe("BTCUSD").open()


async def test_the_first_connection_says_what_is_wrong(reader: DatabaseSettings) -> None:
    with pytest.raises(ConfigurationError, match="no_such_database"):
        await AsyncClient(replace(reader, name="no_such_database")).subscribe().open()
    with pytest.raises(DatabaseUnavailableError):
        await AsyncClient(replace(reader, host="127.0.0.1", port=1)).subscribe().open()


async def test_a_role_that_is_refused_later_ends_it_with_the_reason(
    market: Connection, client: AsyncClient
) -> None:
    async with client.subscribe(heartbeat=0.2) as rows:
        await market.execute("REVOKE SELECT ON feature_values FROM mlreader")
        with pytest.raises(ConfigurationError, match="permission denied"):
            await take(rows, 1)

"""The client without an event loop: inside a running one, interrupted, from several threads, closed."""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.client.conftest import at, insert
from tests.processes import database_environment, until

from marketdata.client import AsyncClient, Client, Prediction
from marketdata.client.loop import LoopThread
from marketdata.database import Connection
from marketdata.errors import DatabaseUnavailableError, RequestError
from marketdata.settings import DatabaseSettings

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


def threads() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("marketdata"))


def test_it_has_the_methods_of_the_asynchronous_one() -> None:
    def public(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters.values())[1:]  # type: ignore[misc]
            for name, member in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(Client) == public(AsyncClient)


async def test_it_works_where_a_loop_is_running(market: Connection, blocking: Client) -> None:
    """This test is itself a coroutine, as a notebook's cell is."""
    await insert(market, "BTCUSDT", range(5))
    row = blocking.latest("BTCUSDT")
    assert row is not None
    assert row.time == at(4)
    assert blocking.symbols() == ["BTCUSDT", "ETHUSDT"]
    assert len(blocking.features("BTCUSDT", at(0), at(9), groups=["returns"])) == 5
    assert len(blocking.candles("BTCUSDT", at(0), at(9))) == 0
    assert blocking.feature_names()[0].name == "return_1m"
    assert blocking.predict("BTCUSDT", at(4), "m", 15, 2.5) is True
    assert blocking.write_predictions(Prediction("BTCUSDT", at(4), "m", n, 2.5) for n in (15, 30)) == (1, 1)
    assert blocking.accuracy() == []


async def test_rows_come_to_a_loop_of_the_plain_kind(market: Connection, blocking: Client) -> None:
    with blocking.subscribe(["BTCUSDT"]) as rows:
        # It has begun: what is committed before the first row is asked for is new already.
        await insert(market, "BTCUSDT", [1, 2])
        assert [next(rows).time, next(rows).time] == [at(1), at(2)]
    assert list(rows) == []


async def test_closing_from_another_thread_ends_the_loop(market: Connection, blocking: Client) -> None:
    rows = blocking.subscribe()
    await insert(market, "BTCUSDT", [1])
    started = threading.Event()

    def consume() -> list[object]:
        got: list[object] = [next(rows).time]
        started.set()
        return got + list(rows)

    with ThreadPoolExecutor(1) as pool:
        consumed = pool.submit(consume)
        await asyncio.to_thread(started.wait, 60)
        blocking.close()
        assert await asyncio.wrap_future(consumed) == [at(1)]


async def test_closing_leaves_no_thread(reader: DatabaseSettings) -> None:
    before = threading.active_count()
    for settings in (reader, DatabaseSettings("localhost", 1, "p", "u", "", "disable")):
        client = Client(settings)
        try:
            client.symbols()
        except DatabaseUnavailableError:
            assert settings.port == 1, "resolving a name takes a thread, too"
        assert threads() == ["marketdata-client"]
        client.close()
        client.close()
        assert threads() == []
        with pytest.raises(RequestError, match="closed"):
            client.symbols()
    assert threading.active_count() == before


async def test_several_threads_may_share_it(market: Connection, blocking: Client) -> None:
    await insert(market, "BTCUSDT", [1])
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(blocking.latest, ["BTCUSDT"] * 40))
    assert {row.time for row in rows if row is not None} == {at(1)}


INTERRUPTED = """
import threading
from marketdata.client import Client
with Client() as client:
    try:
        with client.subscribe() as rows:
            print("listening", flush=True)
            for row in rows:
                print(row.symbol, flush=True)
    except KeyboardInterrupt:
        print("interrupted", client.symbols(), flush=True)
print([t.name for t in threading.enumerate()], flush=True)
"""


async def test_an_interrupt_ends_a_subscription_cleanly(market: Connection, reader: DatabaseSettings) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INTERRUPTED,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "shared", **database_environment(reader)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"listening\n"
        await insert(market, "BTCUSDT", [1])
        assert await process.stdout.readline() == b"BTCUSDT\n"
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    assert rest.decode().splitlines() == ["interrupted ['BTCUSDT', 'ETHUSDT']", "['MainThread']"]
    assert process.returncode == 0

    async def gone() -> bool:
        sessions = (
            "SELECT FROM pg_stat_activity WHERE application_name LIKE 'marketdata-%' AND usename = 'mlreader'"
        )
        return not await market.fetch(f"{sessions} AND datname = current_database()")

    await until(gone, seconds=30, what="its sessions are gone")


def test_who_waits_for_an_answer_when_it_is_closed_is_told() -> None:
    loop, asked = LoopThread("marketdata-test"), threading.Event()

    async def question() -> None:
        asked.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: loop.run(question()))
        assert asked.wait(60)
        loop.stop()
        with pytest.raises(RequestError, match="this client is closed"):
            waiting.result(60)

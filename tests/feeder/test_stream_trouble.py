"""Whatever the stream does, on real sockets: it is noticed in bounded time, and a metric shows it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from prometheus_client import Counter
from tests.feeder.conftest import eventually, running_feeder, stored
from tests.feeder.exchanges import (
    START,
    FastClock,
    acknowledge,
    exchange,
    feed,
    kline,
    quote,
    silent,
    talking,
)  # fmt: skip
from tests.feeder.test_service import config, holes, minutes_pass
from websockets.asyncio.server import ServerConnection

from data_feeder.sequence import Hole
from data_feeder.session import Patience
from exchange_simulator import Simulator
from marketdata.clock import SystemClock
from marketdata.database import Connection
from marketdata.metrics import (
    CLOCK_OFFSET,
    FRAMES_UNDECODED,
    STREAM_FAILOVERS,
    STREAMS_SILENT,
    WEBSOCKET_RECONNECTS,
)
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

QUICK = Patience(
    first_data=0.4, replacement=0.4, overlap=0.2, steady=0.0, ping_interval=0.2, ping_timeout=0.2, closing=0.2
)


def value(counter: Counter, *labels: str) -> float:
    child = counter.labels(*labels) if labels else counter
    return float(child._value.get())


async def until(condition: Any, what: str, seconds: float = 20) -> None:
    async def holds() -> bool:
        return bool(condition())

    await eventually(holds, what, seconds)


async def test_a_rollover_loses_nothing(database: DatabaseSettings, connection: Connection) -> None:
    patience = Patience(rollover=1.0, overlap=0.3)
    async with (
        Simulator(config(speed=120.0)) as simulator,
        running_feeder(database, simulator, patience=patience) as health,
    ):
        await minutes_pass(connection, 1)
        already = await holes(connection)
        sockets: set[int] = set()

        async def rolled() -> bool:
            sockets.update(id(listener) for listener in simulator.hub.listeners)
            assert simulator.hub.subscribers, "one of the two always delivers"
            assert (await health())[1]["websocket_connected"]
            return len(sockets) >= 4

        await eventually(rolled, "three rollovers")
        await minutes_pass(connection, await connection.fetchval("SELECT count(*) FROM candles_1m") // 2 + 2)
        rows = await stored(connection, "BTCUSDT")
        assert rows == simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1)
        assert await holes(connection) == already
        events = "SELECT count(*) FROM data_quality_logs WHERE event_type <> 'gap'"
        assert await connection.fetchval(events) == 0


async def test_a_socket_told_to_go_is_kept_while_its_replacements_are_silent() -> None:
    answer = asyncio.Event()

    async def script(socket: ServerConnection, number: int) -> None:
        if number == 1:
            await acknowledge(socket)
            await socket.send(quote("BTCUSDT"))
            await socket.send(
                json.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": START}})
            )
            await socket.wait_closed()
        elif not answer.is_set():
            await silent(socket, number)
        else:
            await talking(socket, number)

    before = value(WEBSOCKET_RECONNECTS, "silent")
    async with exchange(script) as there, feed(there.url, patience=QUICK) as running:
        await there.connected(3)
        assert 1 in there.open
        answer.set()
        await until(lambda: 1 not in there.open, "the old socket is closed once another delivers")
        assert running.stream.connected
        assert running.lost == []
    assert value(WEBSOCKET_RECONNECTS, "silent") > before


async def test_a_stream_silent_after_its_acknowledgement_is_asked_for_elsewhere(
    database: DatabaseSettings, connection: Connection
) -> None:
    heal = asyncio.Event()
    before = value(WEBSOCKET_RECONNECTS, "silent")

    async def script(socket: ServerConnection, number: int) -> None:
        await (talking if heal.is_set() else silent)(socket, number)

    async with Simulator(config(speed=120.0)) as simulator, exchange(script) as mute:
        urls = f"{mute.url},{simulator.stream_url}"
        patience = Patience(first_data=0.5, replacement=0.5, overlap=0.2, back=1.0)
        async with running_feeder(database, simulator, patience=patience, BINANCE_STREAM_URL=urls) as health:
            await minutes_pass(connection, 2)
            assert (await health())[1]["stream_addresses"] == [simulator.stream_url]
            heal.set()

            async def back() -> bool:
                return (await health())[1]["stream_addresses"] == [mute.url]

            await eventually(back, "back on the first address")

            async def noted() -> bool:
                return bool(
                    await connection.fetchval(
                        "SELECT count(*) = 2 FROM data_quality_logs WHERE event_type = 'failover'"
                    )
                )

            await eventually(noted, "both changes in the ledger")
    rows = await connection.fetch(
        "SELECT detail ->> 'from' AS a, detail ->> 'to' AS b, detail ->> 'reason' AS reason,"
        " detail ->> 'stream' AS stream FROM data_quality_logs WHERE event_type = 'failover' ORDER BY id"
    )
    assert [(r["a"], r["b"]) for r in rows] == [
        (mute.url, simulator.stream_url),
        (simulator.stream_url, mute.url),
    ]
    assert "silent" in rows[0]["reason"]
    assert rows[0]["stream"] == "connection 1 of 1"
    assert value(WEBSOCKET_RECONNECTS, "silent") > before
    assert value(STREAM_FAILOVERS, simulator.stream_url) == 1


async def test_an_address_that_delivered_is_tried_again_before_the_next() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        if number == 1:
            await acknowledge(socket)
            await socket.send(quote("BTCUSDT"))
            socket.transport.abort()
        else:
            await talking(socket, number)

    async with (
        exchange(script) as first,
        exchange(talking) as second,
        feed(first.url, second.url, patience=QUICK) as running,
    ):
        await first.connected(2)
        await until(lambda: running.stream.connected, "delivering again")
        assert second.connections == 0
        assert running.failovers == []


async def test_one_silent_stream_of_many_gets_a_new_socket() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await acknowledge(socket)
        for n in range(10_000):
            await socket.send(kline("BTCUSDT", 0, final=False, pushed=1000 + n))
            if number > 1:
                await socket.send(kline("ETHUSDT", 0, final=False, pushed=1000 + n))
            await asyncio.sleep(0.02)

    before = value(STREAMS_SILENT)
    symbols = ("BTCUSDT", "ETHUSDT")
    async with (
        exchange(script) as there,
        exchange(talking) as other,
        feed(there.url, other.url, symbols=symbols, clock=FastClock(40.0)) as running,
    ):
        await until(lambda: running.ingest.pushed["ETHUSDT"], "the silent stream speaks on a new socket", 40)
        assert there.connections == 2
        assert other.connections == 0, "the address itself is well"
        assert [note.event_type for note in running.buffer.take_notes()] == ["stale"]
    assert value(STREAMS_SILENT) == before + 1


async def test_a_socket_that_never_closes_is_noticed_and_dropped() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        if number > 1:
            await talking(socket, number)
        await acknowledge(socket)
        await socket.send(quote("BTCUSDT"))
        # From here on nothing is read: no pong, no answer to a close frame, and TCP stays open.
        socket.transport.pause_reading()
        await asyncio.Event().wait()

    before = value(WEBSOCKET_RECONNECTS, "ping_timeout")
    async with exchange(script) as there, feed(there.url, patience=QUICK) as running:
        await there.connected(2)
        await until(lambda: running.stream.connected, "delivering again")
        assert len(running.lost) == 1
    assert value(WEBSOCKET_RECONNECTS, "ping_timeout") == before + 1


async def test_a_silent_socket_that_never_closes_does_not_hold_its_replacement_up() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        if number > 1:
            await talking(socket, number)
        await acknowledge(socket)
        socket.transport.pause_reading()
        await asyncio.Event().wait()

    patience = QUICK._replace(ping_interval=60.0)
    async with exchange(script) as there, feed(there.url, patience=patience) as running:
        await until(lambda: running.stream.connected, "delivering on another socket")
        assert there.connections == 2


async def test_frames_of_garbage_cost_only_themselves(
    database: DatabaseSettings, connection: Connection
) -> None:
    before, lost = value(FRAMES_UNDECODED), value(WEBSOCKET_RECONNECTS, "defect")
    garbage = [
        "\x00 not json", "[]", "null", '{"e":"kline","E":1}', '{"data":{"u":1,"b":"x","s":[]}}',
        kline("BTCUSDT", 0).replace('"s": "BTCUSDT", "i"', '"s": ["BTCUSDT"], "i"'),
        kline("BTCUSDT", 0).replace('"n": 3', '"n": 1e300'),
    ]  # fmt: skip
    async with Simulator(config(speed=120.0)) as simulator, running_feeder(database, simulator):
        await minutes_pass(connection, 1)
        for text in garbage:
            simulator.faults.add("garbage_frame", text=text)
        await until(lambda: value(FRAMES_UNDECODED) >= before + len(garbage), "every one is counted")
        assert len(simulator.hub.listeners) == 1
        await minutes_pass(connection, 3)
        rows = await stored(connection, "BTCUSDT")
        assert rows == simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1)
    assert value(WEBSOCKET_RECONNECTS, "defect") == lost


async def test_a_frame_of_ten_megabytes_costs_the_connection_and_no_minute_in_silence(
    database: DatabaseSettings, connection: Connection
) -> None:
    before = value(WEBSOCKET_RECONNECTS, "frame_too_large")
    async with Simulator(config(speed=240.0)) as simulator, running_feeder(database, simulator):
        await minutes_pass(connection, 2)
        simulator.faults.add("large_frame", bytes=10_000_000)
        await until(
            lambda: value(WEBSOCKET_RECONNECTS, "frame_too_large") == before + 1, "the connection is lost"
        )
        await minutes_pass(connection, await connection.fetchval("SELECT count(*) FROM candles_1m") // 2 + 4)
        rows = await stored(connection, "BTCUSDT")
        owed = sum(minutes for minutes, _ in await holes(connection))
        assert len(rows) + owed >= (rows[-1].time - rows[0].time) // MINUTE_MS + 1


class WrongWall(SystemClock):
    """A machine whose clock is ``hours`` off the market's."""

    def __init__(self, simulator: Simulator, hours: float) -> None:
        self._simulator = simulator
        self._ms = int(hours * 3_600_000)

    def wall_ms(self) -> int:
        return self._simulator.clock.now_ms() + self._ms


async def test_a_wrong_wall_clock_changes_nothing_and_shows(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config(speed=60.0)) as simulator:
        for hours in (1.0, -1.0, 24.0 * 400):
            count = await connection.fetchval("SELECT count(*) FROM candles_1m WHERE symbol = 'BTCUSDT'")
            async with running_feeder(database, simulator, clock=WrongWall(simulator, hours)) as health:
                await minutes_pass(connection, count + 3)
                await until(
                    lambda h=hours: abs(value(CLOCK_OFFSET) - h * 3600) < 300, f"{hours} hours are shown"
                )
                assert (await health())[1]["status"] == "healthy"
        rows = await stored(connection, "BTCUSDT")
        true = set(simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1))
        assert set(rows) <= true
        assert await connection.fetchval("SELECT market_now()") <= simulator.clock.now_ms()
        future = "SELECT count(*) FROM data_quality_logs WHERE gap_end > $1"
        assert await connection.fetchval(future, simulator.clock.now_ms()) == 0


async def test_a_frame_an_hour_ahead_moves_no_clock(
    database: DatabaseSettings, connection: Connection
) -> None:
    before = value(FRAMES_UNDECODED)
    async with Simulator(config(speed=60.0)) as simulator, running_feeder(database, simulator):
        await minutes_pass(connection, 1)
        now = simulator.clock.now_ms()
        minute = (now - START) // MINUTE_MS
        hour = 3_600_000
        for frame in (
            kline("BTCUSDT", minute, final=False, pushed=now - START + hour),
            kline("BTCUSDT", minute + 60, final=True),
        ):
            simulator.faults.add("garbage_frame", text=frame)
        await until(lambda: value(FRAMES_UNDECODED) >= before + 2, "both are refused")
        await minutes_pass(connection, 4)
        assert await connection.fetchval("SELECT market_now()") <= simulator.clock.now_ms()
        rows = await stored(connection, "BTCUSDT")
        assert rows == simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1)
        future = "SELECT count(*) FROM data_quality_logs WHERE gap_end > $1"
        assert await connection.fetchval(future, simulator.clock.now_ms()) == 0


async def test_our_own_messages_stay_within_the_exchanges_limit() -> None:
    symbols = tuple(f"S{n}USDT" for n in range(512))
    settings = config(
        speed=1.0, symbols=symbols, history_days=1, ping_interval_s=2.5, book_frames_per_minute=60
    )
    async with Simulator(settings) as simulator:
        patience = Patience(ping_interval=2.5)
        async with feed(simulator.stream_url, symbols=symbols, patience=patience) as running:
            await until(lambda: len(simulator.hub.subscribers) == 2 * len(symbols), "all are subscribed", 40)
            (socket,) = simulator.hub.listeners
            await asyncio.sleep(5.5)  # keepalives of both sides, counted by the simulator
            assert list(simulator.hub.listeners) == [socket]
            assert running.stream.connected
            assert running.lost == []


async def test_pauses_grow_until_data_has_come_for_a_while() -> None:
    class Recorded(SystemClock):
        pauses: list[float]

        async def sleep(self, seconds: float) -> None:
            if asyncio.current_task().get_name() == "stream":  # type: ignore[union-attr]
                self.pauses.append(seconds)
                seconds = 0.001
            await asyncio.sleep(seconds)

    async def script(socket: ServerConnection, number: int) -> None:
        await acknowledge(socket)
        if number % 2:
            await socket.send(quote("BTCUSDT"))
        await asyncio.sleep(0.01)
        socket.transport.abort()

    clock = Recorded()
    clock.pauses = []
    async with exchange(script) as there, feed(there.url, clock=clock):
        for task in asyncio.all_tasks():
            if "Stream.run" in repr(task.get_coro()):
                task.set_name("stream")
        await there.connected(9)
    for n, pause in enumerate(clock.pauses[:8]):
        most = min(0.5 * 2**n, 30.0)
        assert most / 2 <= pause <= most, clock.pauses


async def _market(socket: ServerConnection, *frames: str) -> None:
    await acknowledge(socket)
    for frame in frames:
        await socket.send(frame)


async def test_a_minute_that_never_ends_is_owed_by_the_time_the_others_show() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await _market(socket, *(kline(s, 0) for s in ("BTCUSDT", "ETHUSDT")), kline("BTCUSDT", 1))
        # ETHUSDT is quiet; the market's clock goes on by the other's frames.
        await socket.send(kline("BTCUSDT", 2, final=False, pushed=2 * MINUTE_MS + 5_500))
        await socket.wait_closed()

    async with exchange(script) as there, feed(there.url, symbols=("BTCUSDT", "ETHUSDT")) as running:
        await until(lambda: running.buffer.holes, "the minute is owed")
        assert running.buffer.take_holes() == [
            Hole("ETHUSDT", START + MINUTE_MS, START + 2 * MINUTE_MS, "late")
        ]


async def test_quotes_alone_show_that_a_minute_is_late() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await _market(
            socket, kline("BTCUSDT", 0), kline("BTCUSDT", 1, final=False, pushed=2 * MINUTE_MS - 10_000)
        )
        for _ in range(10_000):
            await socket.send(quote("BTCUSDT"))
            await asyncio.sleep(0.02)

    async with exchange(script) as there, feed(there.url, clock=FastClock(20.0)) as running:
        await until(lambda: running.buffer.holes, "the minute is owed")
        assert running.buffer.take_holes() == [
            Hole("BTCUSDT", START + MINUTE_MS, START + 2 * MINUTE_MS, "late")
        ]


async def test_a_socket_that_shows_no_time_makes_nothing_late() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await _market(
            socket, kline("BTCUSDT", 0), kline("BTCUSDT", 1, final=False, pushed=2 * MINUTE_MS - 1_000)
        )
        await socket.wait_closed()

    clock = FastClock(40.0)
    async with exchange(script) as there, feed(there.url, clock=clock) as running:
        await until(
            lambda: running.ingest.pushed["BTCUSDT"] > START + MINUTE_MS + 30_000, "both frames are in"
        )
        await clock.sleep(40.0)
        assert running.buffer.holes == []


async def test_what_waited_unread_while_the_process_stalled_is_not_late() -> None:
    async def script(socket: ServerConnection, number: int) -> None:
        await _market(
            socket, kline("BTCUSDT", 0), kline("BTCUSDT", 1, final=False, pushed=2 * MINUTE_MS - 10_000)
        )
        for n in range(200):
            await socket.send(quote("BTCUSDT"))
            if n == 50:
                # In the kernel's hands, and nobody reads: server and reader share this thread.
                await socket.send(kline("BTCUSDT", 1))
                time.sleep(1.0)  # noqa: ASYNC251
            await asyncio.sleep(0.005)
        await socket.wait_closed()

    async with exchange(script) as there, feed(there.url, clock=FastClock(20.0)) as running:
        await until(lambda: len(running.buffer) == 2, "both minutes are in")
        await running.clock.sleep(10.0)
        assert running.buffer.holes == []


async def test_a_late_final_frame_is_a_gap_and_then_its_repair(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config(speed=120.0)) as simulator, running_feeder(database, simulator):
        await minutes_pass(connection, 2)
        already = await holes(connection)
        late = simulator.faults.add("delay_frames", symbol="BTCUSDT", count=2, seconds=25.0)
        await until(lambda: late.fired == 2, "two are delayed")
        await minutes_pass(connection, await connection.fetchval("SELECT count(*) FROM candles_1m") // 2 + 3)

        async def repaired() -> bool:
            rows = await stored(connection, "BTCUSDT")
            return rows == simulator.candles("BTCUSDT", rows[0].time, rows[-1].time + 1)

        await eventually(repaired, "what came late is stored")
        found = (await holes(connection))[len(already) :]
        assert sum(minutes for minutes, cause in found if cause == "late") == 2
        marked = "SELECT count(*) FROM stale_features WHERE symbol = 'BTCUSDT'"
        rows = "SELECT count(*) FROM feature_values WHERE symbol = 'BTCUSDT'"

        async def recomputed() -> bool:
            done = await connection.fetchval(marked) == 0
            return done and bool(
                await connection.fetchval(rows) >= len(await stored(connection, "BTCUSDT")) - 1
            )

        await eventually(recomputed, "its features are computed again")

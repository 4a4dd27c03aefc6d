"""Stream connections: URLs, control messages, limits, slow readers."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import ask, collect, finals, opened, receive
from websockets.exceptions import ConnectionClosed, InvalidStatus

from exchange_simulator import Simulator


@pytest.mark.parametrize(
    "path",
    [
        "/ws/btcusdt@kline_1m",
        "/ws/btcusdt%40kline_1m",
        "/ws/ethusdt@kline_1m/btcusdt@kline_1m",
        "/stream?streams=btcusdt@kline_1m/ethusdt@bookTicker",
        "/stream?streams=btcusdt%40kline_1m%2Fethusdt%40bookTicker",
    ],
)
async def test_every_url_form_delivers(fast: Simulator, path: str) -> None:
    async with opened(fast, path) as socket:
        messages = await collect(socket, 12)
    assert all(("stream" in message) == path.startswith("/stream") for message in messages)
    events = [message.get("data", message) for message in messages]
    assert any(event["s"] == "BTCUSDT" and event.get("e") == "kline" for event in events)


async def test_an_unknown_path_is_not_found(standing: Simulator) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with opened(standing, "/nothing"):
            pass
    assert caught.value.response.status_code == 404


async def test_subscriptions_are_acknowledged_unwrapped(standing: Simulator) -> None:
    async with opened(standing, "/stream") as socket:
        names = ["btcusdt@kline_1m", "nosuchusdt@kline_1m", "ETHUSDT@kline_1m"]
        assert await ask(socket, method="SUBSCRIBE", params=names, id=7) == {"result": None, "id": 7}
        assert await ask(socket, method="LIST_SUBSCRIPTIONS", id=8) == {"result": names, "id": 8}
        assert await ask(socket, method="UNSUBSCRIBE", params=names[:1], id=9) == {"result": None, "id": 9}
        assert await ask(socket, method="LIST_SUBSCRIPTIONS", id="a") == {"result": names[1:], "id": "a"}


async def test_unknown_and_upper_case_streams_stay_silent(simulate: Simulate) -> None:
    async with simulate(speed=600) as sim, opened(sim, "/ws/BTCUSDT@kline_1m/nosuch@kline_1m") as socket:
        with pytest.raises(TimeoutError):
            await receive(socket, 0.5)


async def test_the_combined_property_can_be_read_and_set(standing: Simulator) -> None:
    async with opened(standing, "/ws/btcusdt@kline_1m") as socket:
        assert (await ask(socket, method="GET_PROPERTY", params=["combined"], id=1))["result"] is False
        answer = await ask(socket, method="SET_PROPERTY", params=["combined", True], id=2)
        assert answer == {"result": None, "id": 2}
        assert (await ask(socket, method="GET_PROPERTY", params=["combined"], id=3))["result"] is True


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not json", 3),
        ('{"method":"NOT_A_METHOD","id":4}', 2),
        ('{"id":4}', 2),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":1.5}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":4}', 2),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":4}', 0),
        ('{"method":"GET_PROPERTY","params":[4],"id":4}', 2),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":4}', 1),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":4}', 2),
    ],
)
async def test_mistakes_are_answered_with_small_codes(standing: Simulator, message: str, code: int) -> None:
    async with opened(standing, "/ws") as socket:
        await socket.send(message)
        answer = await receive(socket)
        assert answer["code"] == code
        assert answer["msg"]


async def test_more_than_five_messages_a_second_disconnect(standing: Simulator) -> None:
    async with opened(standing, "/ws") as socket:
        for number in range(6):
            await socket.send(f'{{"method":"LIST_SUBSCRIPTIONS","id":{number}}}')
        with pytest.raises(ConnectionClosed):
            await collect(socket, 7)


async def test_pings_count_as_messages_too(standing: Simulator) -> None:
    async with opened(standing, "/ws") as socket:
        for _ in range(6):
            await socket.ping()
        await asyncio.wait_for(socket.wait_closed(), 3)
        assert socket.close_code == 1008


async def test_a_connection_carries_1024_streams_and_no_more(standing: Simulator) -> None:
    names = [f"s{number}usdt@kline_1m" for number in range(1024)]
    async with opened(standing, "/ws") as socket:
        assert (await ask(socket, method="SUBSCRIBE", params=names, id=1))["result"] is None
        assert (await ask(socket, method="SUBSCRIBE", params=["one@more"], id=2))["code"] == 2
        assert len((await ask(socket, method="LIST_SUBSCRIPTIONS", id=3))["result"]) == 1024


async def test_the_server_pings_and_drops_who_never_answers(simulate: Simulate) -> None:
    async with simulate(ping_interval_s=0.1, pong_deadline_s=0.2) as sim:
        async with opened(sim, "/ws") as polite:
            await asyncio.sleep(0.5)
            await ask(polite, method="LIST_SUBSCRIPTIONS", id=1)
        async with opened(sim, "/ws") as deaf:
            deaf.transport.pause_reading()
            for _ in range(100):
                await asyncio.sleep(0.02)
                if not sim.hub.listeners:
                    break
            assert not sim.hub.listeners
            deaf.transport.abort()


async def test_a_connection_ends_with_its_lifetime(simulate: Simulate) -> None:
    async with simulate(connection_lifetime_s=0.2) as sim, opened(sim, "/ws") as socket:
        await asyncio.wait_for(socket.wait_closed(), 3)


async def test_attempts_per_address_are_limited(simulate: Simulate) -> None:
    async with simulate(connections_per_5_minutes=2) as sim:
        for _ in range(2):
            async with opened(sim, "/ws"):
                pass
        with pytest.raises(InvalidStatus):
            async with opened(sim, "/ws"):
                pass


async def test_a_slow_reader_is_cut_off_and_blocks_nobody(simulate: Simulate) -> None:
    settings = {"speed": 6000.0, "book_frames_per_minute": 600, "max_buffered_bytes": 50_000}
    async with (
        simulate(**settings) as sim,
        opened(sim, "/ws/btcusdt@bookTicker/ethusdt@bookTicker/btcusdt@kline_1m") as slow,
        opened(sim, "/ws/btcusdt@kline_1m") as brisk,
    ):
        slow.transport.pause_reading()
        assert len(await finals(brisk, 20)) == 20
        async with asyncio.timeout(10):
            while len(sim.hub.listeners) > 1:
                await finals(brisk, 1)
        slow.transport.abort()


async def test_at_max_speed_the_clock_waits_for_subscribers_and_for_slow_readers(fast: Simulator) -> None:
    before = fast.clock.now_ms()
    await asyncio.sleep(0.1)
    assert fast.clock.now_ms() == before
    async with opened(fast, "/ws/btcusdt@kline_1m/btcusdt@bookTicker") as socket:
        await collect(socket, 10)
        socket.transport.pause_reading()
        reached = -1
        async with asyncio.timeout(10):
            while reached != fast.clock.now_ms():
                reached = fast.clock.now_ms()
                await asyncio.sleep(0.15)
        socket.transport.resume_reading()
        await collect(socket, 2000)
        assert fast.clock.now_ms() > reached

"""Market time, with a fake real clock where it matters."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import MINUTE, START, finals, opened

from exchange_simulator import Simulator
from exchange_simulator.clock import MarketClock
from exchange_simulator.errors import ClockError


class Real:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_runs_pauses_and_changes_speed() -> None:
    real = Real()
    clock = MarketClock(1_000_000, 2.0, monotonic=real)
    real.now += 5
    assert clock.now_ms() == 1_010_000
    clock.pause()
    real.now += 50
    assert clock.now_ms() == 1_010_000
    clock.resume()
    clock.set_speed(10.0)
    real.now += 1
    assert clock.now_ms() == 1_020_000
    clock.jump(2_000_000)
    assert clock.now_ms() == 2_000_000
    with pytest.raises(ClockError):
        clock.jump(1_999_999)
    with pytest.raises(ClockError):
        clock.set_speed(0)


def test_time_stops_at_the_end() -> None:
    real = Real()
    clock = MarketClock(1_000_000, 1.0, end_ms=1_003_000, monotonic=real)
    real.now += 10
    assert clock.now_ms() == 1_003_000


async def test_reach_wakes_on_time_and_on_a_jump() -> None:
    clock = MarketClock(0, 1000.0)
    assert await asyncio.wait_for(clock.reach(50_000), 2)
    waiting = asyncio.create_task(clock.reach(10**9))
    await asyncio.sleep(0.01)
    clock.jump(10**8)
    assert await asyncio.wait_for(waiting, 2) is False


async def test_at_max_speed_time_needs_an_audience_and_no_waiting() -> None:
    clock = MarketClock(0, None, end_ms=100_000)
    waiting = asyncio.create_task(clock.reach(50_000))
    await asyncio.sleep(0.01)
    assert clock.now_ms() == 0
    clock.set_audience(True)
    assert await asyncio.wait_for(waiting, 2)
    assert clock.now_ms() == 50_000
    beyond = asyncio.create_task(clock.reach(150_000))
    await asyncio.sleep(0.01)
    assert clock.now_ms() == 100_000
    assert not beyond.done()
    beyond.cancel()


async def test_control_pauses_resumes_changes_speed_and_jumps(api: httpx.AsyncClient) -> None:
    state = (await api.get("/control/state")).json()["clock"]
    assert state["paused"]
    jumped = await api.post("/control/clock", json={"jump": "2026-10-02T12:00:00"})
    assert jumped.json()["now_ms"] == 1_790_942_400_000
    assert (await api.post("/control/clock", json={"speed": "max"})).json()["speed"] == "max"
    assert (await api.post("/control/clock", json={"speed": 60, "resume": True})).json()["paused"] is False
    mistakes: list[object] = [
        {"jump": 5},
        {"speed": -1},
        {"speed": "fast"},
        {"jump": "soon"},
        {"stop": 1},
        {},
        [],
    ]
    for wrong in mistakes:
        assert (await api.post("/control/clock", json=wrong)).status_code == 400
    assert (await api.post("/control/clock", content=b"{")).status_code == 400


async def test_a_jump_loses_what_lay_between_but_rest_has_it(simulate: Simulate) -> None:
    async with simulate(speed=600.0) as sim, opened(sim, "/ws/btcusdt@kline_1m") as socket:
        await finals(socket, 1)
        target = START + 100 * MINUTE
        sim.clock.jump(target)
        event = (await finals(socket, 1))[0]
        while event["k"]["t"] < target - MINUTE:
            event = (await finals(socket, 1))[0]
        assert event["k"]["t"] == target - MINUTE
        assert len(sim.candles("BTCUSDT", START, target)) == 100


async def test_a_paused_exchange_is_silent_but_answers(standing: Simulator, api: httpx.AsyncClient) -> None:
    async with opened(standing, "/ws/btcusdt@bookTicker") as socket:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.6)
        assert (await api.get("/api/v3/ping")).json() == {}
        standing.clock.resume()
        await asyncio.wait_for(socket.recv(), 2)

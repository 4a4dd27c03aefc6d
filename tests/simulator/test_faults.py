"""Each fault, one by one: it happens, it is recorded, and it ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import MINUTE, START, ask, collect, finals, opened, receive
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus, WebSocketException

from exchange_simulator import Simulator
from exchange_simulator.errors import FaultError
from exchange_simulator.faults.model import KINDS, Phase

KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=10"
STREAM = "/ws/btcusdt@kline_1m"


async def test_the_table_describes_every_kind(api: httpx.AsyncClient) -> None:
    kinds = (await api.get("/control/state")).json()["kinds"]
    assert {kind["kind"] for kind in kinds} == set(KINDS)
    assert all(kind["help"] for kind in kinds)


def test_the_readme_names_every_kind_and_parameter() -> None:
    readme = Path(__file__).resolve().parents[2] / "exchange-simulator" / "README.md"
    rows = {line.split("`")[1]: line for line in readme.read_text().splitlines() if line.startswith("| `")}
    common = {"frames", "stream", "start", "end"}
    for kind in KINDS.values():
        assert all(f"`{name}`" in rows[kind.name] for name in kind.defaults.keys() - common), kind.name


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "no_such"},
        {"kind": "halt", "colour": "red"},
        {"kind": "halt", "minutes": "many"},
        {"kind": "halt", "symbol": "NOSUCHUSDT"},
        {"kind": "halt", "count": 0},
        {"kind": "rest_missing_rows"},
        {"kind": "drop_connections", "mode": "softly"},
        {"minutes": 1},
        [],
    ],
)
async def test_mistakes_are_refused_with_a_reason(api: httpx.AsyncClient, body: Any) -> None:
    answer = await api.post("/control/faults", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert (await api.get("/control/state")).json()["faults"] == []


async def test_faults_are_listed_recorded_and_cleared(api: httpx.AsyncClient) -> None:
    body = {"kind": "rest_status", "status": 503, "count": 2, "path": "klines"}
    identity = (await api.post("/control/faults", json=body)).json()["id"]
    assert [(await api.get(KLINES)).status_code for _ in range(3)] == [503, 503, 200]
    state = (await api.get("/control/state")).json()
    assert state["faults"][0]["fired"] == 2
    assert not state["faults"][0]["live"]
    assert [entry["fault"] for entry in state["injected"]] == [identity, identity]
    await api.post("/control/faults", json={"kind": "rest_html"})
    assert (await api.delete("/control/faults", params={"id": identity})).json() == {"cleared": 1}
    assert (await api.delete("/control/faults")).json() == {"cleared": 1}
    assert (await api.get(KLINES)).status_code == 200
    assert len((await api.get("/control/state")).json()["injected"]) == 2


async def test_faults_end_after_their_time(api: httpx.AsyncClient) -> None:
    await api.post("/control/faults", json={"kind": "rest_status", "status": 500, "for_seconds": 0.15})
    assert (await api.get(KLINES)).status_code == 500
    await asyncio.sleep(0.16)
    assert (await api.get(KLINES)).status_code == 200


@pytest.mark.parametrize("mode", ["abort", "close"])
async def test_drop_connections(standing: Simulator, mode: str) -> None:
    async with opened(standing, STREAM) as socket, opened(standing, "/ws/ethusdt@kline_1m") as other:
        await ask(other, method="LIST_SUBSCRIPTIONS", id=1)
        fault = standing.faults.add("drop_connections", mode=mode, symbol="BTCUSDT")
        with pytest.raises(ConnectionClosed) as caught:
            await receive(socket)
        assert isinstance(caught.value, ConnectionClosedOK) == (mode == "close")
        await ask(other, method="LIST_SUBSCRIPTIONS", id=2)
        assert fault.fired == 1
        assert standing.faults.injected[-1]["connections"] == 1


async def test_refuse_connections(standing: Simulator) -> None:
    fault = standing.faults.add("refuse_connections", count=1)
    with pytest.raises((OSError, EOFError, WebSocketException)) as caught:
        async with opened(standing, STREAM):
            pass
    assert not isinstance(caught.value, InvalidStatus)
    standing.faults.add("refuse_connections", status=503, count=1)
    with pytest.raises(InvalidStatus):
        async with opened(standing, STREAM):
            pass
    async with opened(standing, STREAM):
        assert fault.fired == 1


async def test_withhold_final(fast: Simulator) -> None:
    fault = fast.faults.add("withhold_final", symbol="BTCUSDT", count=2)
    ranged = fast.faults.add("withhold_final", start=START + 5 * MINUTE, end=START + 7 * MINUTE)
    async with opened(fast, STREAM) as socket:
        times = [(event["k"]["t"] - START) // MINUTE for event in await finals(socket, 5)]
    assert times == [1, 2, 3, 4, 7]
    assert (fault.fired, ranged.fired) == (2, 2)
    assert len(fast.candles("BTCUSDT", START, START + 7 * MINUTE)) == 7


async def test_withhold_all_silences_one_stream(fast: Simulator) -> None:
    fault = fast.faults.add("withhold_all", symbol="BTCUSDT", start=START, end=START + 3 * MINUTE)
    async with opened(fast, "/ws/btcusdt@kline_1m/btcusdt@bookTicker/ethusdt@kline_1m") as socket:
        events = await collect(socket, 60)
    btc = [event["k"]["t"] for event in events if event.get("e") and event["s"] == "BTCUSDT"]
    eth = [event["k"]["t"] for event in events if event.get("e") and event["s"] == "ETHUSDT"]
    assert START - MINUTE in btc
    assert START + MINUTE in eth
    assert not {START, START + MINUTE, START + 2 * MINUTE} & set(btc)
    assert START + 3 * MINUTE in btc
    assert fault.fired >= 9


async def test_repeat_frames(fast: Simulator) -> None:
    fast.faults.add("repeat_frames", frames="final", times=2, count=1)
    async with opened(fast, STREAM) as socket:
        events = await finals(socket, 4)
    assert events[0] == events[1] == events[2] != events[3]


async def test_delay_frames_keeps_the_event_time(fast: Simulator) -> None:
    fault = fast.faults.add("delay_frames", seconds=90, count=1)
    async with opened(fast, STREAM) as socket:
        events = await finals(socket, 3)
    assert [(event["k"]["t"] - START) // MINUTE for event in events] == [0, -1, 1]
    assert events[1]["E"] < START + 100
    assert fault.fired == 1


async def test_reorder_swaps_neighbours(fast: Simulator) -> None:
    fast.faults.add("reorder", count=1)
    async with opened(fast, STREAM) as socket:
        events = [event["k"] for event in await collect(socket, 2)]
    assert [event["x"] for event in events] == [False, True]
    assert events[1]["t"] < events[0]["t"]


async def test_alter_final_contradicts_rest(fast: Simulator) -> None:
    fast.faults.add("alter_final", factor=1.01, count=1)
    async with opened(fast, STREAM) as socket:
        events = await finals(socket, 2)
    truth = fast.candles("BTCUSDT", START - MINUTE, START + MINUTE)
    assert float(events[0]["k"]["c"]) == pytest.approx(truth[0].close * 1.01)
    assert float(events[0]["k"]["h"]) >= float(events[0]["k"]["c"])
    assert float(events[1]["k"]["c"]) == truth[1].close


async def test_corrupt_garbage_and_large_frames(fast: Simulator) -> None:
    fast.faults.add("corrupt_frames", count=1)
    async with opened(fast, STREAM) as socket:
        with pytest.raises(orjson.JSONDecodeError):
            await receive(socket)
        fast.faults.add("garbage_frame", text="<<<")
        fast.faults.add("large_frame", bytes=1_500_000)
        messages: list[str | bytes] = []
        while len(messages) < 2:
            message = await asyncio.wait_for(socket.recv(), 5)
            if '"e":"kline"' not in str(message):
                messages.append(message)
    assert messages[0] == "<<<"
    assert orjson.loads(messages[1])["e"] == "notice"
    assert len(messages[1]) > 1_500_000


async def test_server_shutdown_is_announced_unasked(standing: Simulator) -> None:
    async with opened(standing, "/ws") as raw, opened(standing, "/stream") as combined:
        standing.faults.add("server_shutdown", grace_seconds=0.1)
        now = standing.clock.now_ms()
        assert await receive(raw) == {"e": "serverShutdown", "E": now}
        assert await receive(combined) == {
            "stream": "!serverShutdown",
            "data": {"e": "serverShutdown", "E": now},
        }
        await asyncio.wait_for(raw.wait_closed(), 3)
        await asyncio.wait_for(combined.wait_closed(), 3)


async def test_halt_empties_every_channel_and_the_past_stays_halted(simulate: Simulate) -> None:
    async with simulate(speed=None) as sim, httpx.AsyncClient(base_url=sim.api_url) as api:
        sim.faults.add("halt", symbol="BTCUSDT", start=START + MINUTE, minutes=4)
        async with opened(sim, "/ws/btcusdt@kline_1m/btcusdt@bookTicker/ethusdt@kline_1m") as socket:
            seen: list[Any] = []
            while not any(event.get("e") and event["k"]["t"] > START + 6 * MINUTE for event in seen):
                seen.append(await receive(socket))
            sim.clock.pause()
        btc = {event["k"]["t"] for event in seen if event.get("e") and event["s"] == "BTCUSDT"}
        gone = {START + number * MINUTE for number in (1, 2, 3, 4)}
        assert not btc & gone
        assert {START, START + 5 * MINUTE} <= btc
        sim.faults.clear()
        query = f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={START}&endTime={START + 5 * MINUTE}"
        rows = (await api.get(query)).json()
        assert [(row[0] - START) // MINUTE for row in rows] == [0, 5]
        assert len(sim.candles("BTCUSDT", START, START + 6 * MINUTE)) == 2
        assert len(sim.candles("ETHUSDT", START, START + 6 * MINUTE)) == 6
        info = (await api.get("/api/v3/exchangeInfo?symbol=BTCUSDT")).json()
        assert info["symbols"][0]["status"] == "TRADING"


async def test_a_halt_that_is_cleared_early_ends_now(standing: Simulator) -> None:
    standing.faults.add("halt", minutes=10)
    standing.faults.clear()
    assert standing.market.halts == ()


@pytest.mark.parametrize(
    ("status", "code"), [(429, -1003), (418, -1003), (451, 0), (403, None), (500, -1000), (503, -1008)]
)
async def test_rest_status(
    api: httpx.AsyncClient, standing: Simulator, status: int, code: int | None
) -> None:
    standing.faults.add("rest_status", status=status, count=1)
    answer = await api.get(KLINES)
    assert answer.status_code == status
    assert answer.headers["x-exchange-simulator"] == "1"
    assert ("retry-after" in answer.headers) == (status in (418, 429))
    if code is None:
        assert answer.text.startswith("<html>")
    else:
        assert answer.json()["code"] == code
    assert (await api.get(KLINES)).status_code == 200


async def test_rest_status_with_retry_after_on_a_path(api: httpx.AsyncClient, standing: Simulator) -> None:
    standing.faults.add("rest_status", status=429, retry_after=17, path="/v3/klines")
    assert (await api.get("/api/v3/time")).status_code == 200
    assert (await api.get(KLINES)).headers["retry-after"] == "17"
    standing.faults.add("rest_status", status=404, path="/data/")
    file = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-10-01.zip"
    assert (await api.get(file)).status_code == 404


async def test_rest_html_truncated_and_late(api: httpx.AsyncClient, standing: Simulator) -> None:
    standing.faults.add("rest_html", count=1)
    assert (await api.get(KLINES)).headers["content-type"] == "text/html"
    standing.faults.add("rest_truncated_json", count=1)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads((await api.get(KLINES)).content)
    standing.faults.add("rest_delay", seconds=0.2, count=1)
    begun = time.monotonic()
    assert len((await api.get(KLINES)).json()) == 10
    assert time.monotonic() - begun >= 0.2


async def test_rest_missing_rows(api: httpx.AsyncClient, standing: Simulator) -> None:
    hole = START - 5 * MINUTE
    fault = standing.faults.add("rest_missing_rows", symbol="BTCUSDT", start=hole, minutes=2, count=1)
    assert (await api.get(KLINES.replace("BTC", "ETH"))).json()[5][0] == START - 4 * MINUTE
    times = [row[0] for row in (await api.get(KLINES)).json()]
    assert len(times) == 10
    assert not {hole, hole + MINUTE} & set(times)
    assert hole in [row[0] for row in (await api.get(KLINES)).json()]
    assert fault.fired == 1


def test_every_kind_is_in_exactly_one_phase() -> None:
    assert {kind.phase for kind in KINDS.values()} == set(Phase)


async def test_python_callers_get_faulterrors(standing: Simulator) -> None:
    with pytest.raises(FaultError, match="unknown fault"):
        standing.faults.add("meteor")

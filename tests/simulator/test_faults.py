"""Each fault, one by one: it happens, it is recorded, and it ends."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import MINUTE, START, ask, collect, finals, opened, receive
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.frames import Opcode

from exchange_simulator import Simulator
from exchange_simulator.errors import FaultError
from exchange_simulator.faults.model import KINDS, Phase

KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=10"
STREAM = "/ws/btcusdt@kline_1m"
FILE = "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-10-01.zip"


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
        {"kind": "rest_wrong_rows", "how": "oddly"},
        {"kind": "archive_rows", "defect": "smell"},
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


async def test_clock_skew_moves_the_event_time_alone(fast: Simulator) -> None:
    fast.faults.add("clock_skew", seconds=-3600, frames="final", count=1)
    async with opened(fast, STREAM) as socket:
        skewed, following = await finals(socket, 2)
    assert skewed["k"]["T"] - skewed["E"] > 3_500_000
    assert 0 < following["E"] - following["k"]["T"] < 100
    assert skewed["k"]["t"] == following["k"]["t"] - MINUTE


async def test_silent_after_ack_is_for_one_connection(fast: Simulator) -> None:
    fault = fast.faults.add("silent_after_ack", count=1)
    async with opened(fast, "/stream") as silent, opened(fast, "/stream") as heard:
        for socket in (silent, heard):
            await socket.send('{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":3}')
            assert await receive(socket) == {"result": None, "id": 3}
        assert len(await collect(heard, 50)) == 50
        with pytest.raises(TimeoutError):
            await receive(silent, 0.05)
        assert await ask(silent, method="LIST_SUBSCRIPTIONS", id=4) == {
            "result": ["btcusdt@kline_1m"],
            "id": 4,
        }
    assert fault.fired == 1


async def test_old_snapshot_comes_before_the_stream(fast: Simulator) -> None:
    fast.faults.add("old_snapshot", minutes=3, count=2)
    async with opened(fast, "/stream?streams=btcusdt@kline_1m/btcusdt@bookTicker") as socket:
        first = (await receive(socket))["data"]
        later = [
            frame["data"]["k"]["t"] for frame in await collect(socket, 30) if "@kline" in frame["stream"]
        ]
    assert (first["k"]["t"], first["k"]["x"]) == (START - 3 * MINUTE, False)
    assert START - 3 * MINUTE < first["E"] < START - 2 * MINUTE
    assert min(later) >= START - MINUTE
    async with opened(fast, "/ws") as socket:
        await socket.send('{"method":"SUBSCRIBE","params":["ethusdt@kline_1m"],"id":1}')
        assert "result" in await receive(socket)
        now, snapshot = fast.clock.now_ms(), await receive(socket)
    assert snapshot["k"]["t"] < now - 2 * MINUTE


async def test_a_stuck_socket_stays_open_and_says_nothing(standing: Simulator) -> None:
    async with opened(standing, STREAM) as stuck, opened(standing, STREAM) as other:
        await ask(stuck, method="LIST_SUBSCRIPTIONS", id=1)
        await ask(other, method="LIST_SUBSCRIPTIONS", id=1)
        standing.faults.add("stuck_socket", count=1)
        standing.clock.set_speed(None)
        standing.clock.resume()
        assert len(await collect(other, 20)) == 20
        for awaited in (receive(stuck, 0.05), asyncio.wait_for(await stuck.ping(), 0.05)):
            with pytest.raises(TimeoutError):
                await awaited
        closing = asyncio.create_task(stuck.close())
        await asyncio.wait({closing}, timeout=0.1)
        assert not closing.done()
        await closing  # the client gives up after its own time
    assert stuck.close_code == 1006


async def test_stop_pings(simulate: Simulate) -> None:
    async with simulate(ping_interval_s=0.05) as sim, opened(sim, STREAM) as socket:
        pinged = asyncio.Event()
        original = socket.process_event

        def seen(event: Any) -> None:
            if getattr(event, "opcode", None) is Opcode.PING:
                pinged.set()
            original(event)

        socket.process_event = seen  # type: ignore[method-assign]
        await asyncio.wait_for(pinged.wait(), 3)
        sim.faults.add("stop_pings")
        await ask(socket, method="LIST_SUBSCRIPTIONS", id=1)
        pinged.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pinged.wait(), 0.3)
        assert await ask(socket, method="LIST_SUBSCRIPTIONS", id=2)


async def test_rest_connection_reset(api: httpx.AsyncClient, standing: Simulator) -> None:
    fault = standing.faults.add("rest_connection_reset", path="klines", count=1)
    assert (await api.get("/api/v3/time")).status_code == 200
    with pytest.raises(httpx.TransportError):
        await api.get(KLINES)
    assert (await api.get(KLINES)).status_code == 200
    assert fault.fired == 1


@pytest.mark.parametrize("how", ["outside", "reversed", "shuffled", "repeated"])
async def test_rest_wrong_rows_are_true_rows(api: httpx.AsyncClient, standing: Simulator, how: str) -> None:
    query = f"{KLINES}&startTime={START - 20 * MINUTE}&endTime={START - 11 * MINUTE}"
    right = (await api.get(query)).json()
    assert len(right) == 10
    standing.faults.add("rest_wrong_rows", how=how, rows=2, symbol="BTCUSDT", count=1, seed=3)
    assert len((await api.get(KLINES.replace("BTC", "ETH"))).json()) == 10
    wrong = (await api.get(query)).json()
    everything = (await api.get(KLINES.replace("10", "100"))).json()
    assert wrong != right
    assert all(row in everything for row in wrong)
    assert all(row in wrong for row in right)
    if how == "outside":
        assert [(row[0] - right[0][0]) // MINUTE for row in wrong] == list(range(-2, 12))
    else:
        assert all(row in right for row in wrong)
    assert (await api.get(query)).json() == right


async def test_archive_status_and_delay(api: httpx.AsyncClient, standing: Simulator) -> None:
    standing.faults.add("archive_status", status=403, path="BTCUSDT-1m-2026-10-01.zip", count=1)
    answer = await api.get(FILE)
    assert answer.status_code == 403
    assert "AccessDenied" in answer.text
    assert (await api.get(KLINES)).status_code == 200
    standing.faults.add("archive_delay", seconds=0.2, count=1)
    begun = time.monotonic()
    assert (await api.get(FILE)).status_code == 200
    assert time.monotonic() - begun >= 0.2


async def downloaded(api: httpx.AsyncClient) -> tuple[bytes, str, str]:
    """The file, its own digest, and what its CHECKSUM says."""
    content, checksum = (await api.get(FILE)).content, (await api.get(FILE + ".CHECKSUM")).text
    digest, name = checksum.split("  ")
    assert name == FILE.rsplit("/", 1)[1] + "\n"
    return content, hashlib.sha256(content).hexdigest(), digest


@pytest.mark.parametrize(("said_of", "fits"), [("whole", False), ("half", True)])
async def test_archive_truncated(
    api: httpx.AsyncClient, standing: Simulator, said_of: str, fits: bool
) -> None:
    whole, own, said = await downloaded(api)
    assert own == said
    fault = standing.faults.add("archive_truncated", checksum=said_of, count=1)
    half, own_half, said = await downloaded(api)
    assert half == whole[: len(whole) // 2]
    assert said == (own_half if fits else own)
    other = FILE.replace("10-01", "09-30")
    assert (
        hashlib.sha256((await api.get(other)).content).hexdigest()
        in (await api.get(other + ".CHECKSUM")).text
    )
    assert await downloaded(api) == (half, own_half, said)  # for as long as the fault lasts
    standing.faults.clear(fault.id)
    assert await downloaded(api) == (whole, own, own)
    assert fault.fired == 1


async def test_archive_checksum(api: httpx.AsyncClient, standing: Simulator) -> None:
    whole, own, _ = await downloaded(api)
    standing.faults.add("archive_checksum", symbol="BTCUSDT")
    content, digest, said = await downloaded(api)
    assert (content, digest) == (whole, own)
    assert said != own
    assert len(said) == 64


@pytest.mark.parametrize("defect", ["lacking", "off_grid", "unit", "header"])
async def test_archive_rows_are_wrong_and_fit_their_checksum(
    api: httpx.AsyncClient, standing: Simulator, defect: str
) -> None:
    right = lines_of((await downloaded(api))[0])
    standing.faults.add("archive_rows", defect=defect, rows=3, seed=11)
    content, own, said = await downloaded(api)
    assert own == said
    assert (await api.get(FILE)).content == content
    wrong = lines_of(content)
    opens = [int(line.split(",")[0]) for line in wrong if line[0].isdigit()]
    if defect == "lacking":
        assert len(wrong) == len(right) - 3
        assert set(wrong) < set(right)
    elif defect == "off_grid":
        off = [stamp for stamp in opens if stamp % (MINUTE * 1000)]
        assert len(off) == 3
        assert len(set(off) | set(opens)) == 1440
    elif defect == "unit":
        # Microseconds are right in 2026.
        assert opens == [int(line.split(",")[0]) // 1000 for line in right]
    else:
        assert wrong[0].startswith("open_time,")
        assert wrong[1:] == right


def lines_of(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.namelist()[0]).decode().splitlines()


async def test_the_clock_alone_can_be_asked(api: httpx.AsyncClient, standing: Simulator) -> None:
    assert (await api.get("/control/clock")).json()["now_ms"] == standing.clock.now_ms()


def test_every_kind_is_in_exactly_one_phase() -> None:
    assert {kind.phase for kind in KINDS.values()} == set(Phase)


async def test_python_callers_get_faulterrors(standing: Simulator) -> None:
    with pytest.raises(FaultError, match="unknown fault"):
        standing.faults.add("meteor")

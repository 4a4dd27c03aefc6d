"""Replaying recorded days: every candle, every digit, and the halt of 2023-03-24."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import httpx
import pytest
from tests.simulator.conftest import Simulate
from tests.simulator.reader import DATA, DAY, MINUTE, NO_DATA, finals, opened

from exchange_simulator import Simulator, SimulatorConfig
from exchange_simulator.errors import SourceError
from exchange_simulator.source.replay import ReplaySource

ZIPS = DATA / "spot_daily_zips" / "1m"
recorded = pytest.mark.skipif(not ZIPS.is_dir(), reason=NO_DATA)
HALT_DAY = 1_679_616_000_000  # 2023-03-24
LINES = [
    "1000.10000000,1000.50000000,999.90000000,1000.20000000,12.50000000,{end},12502.50000000,40,6.00000000,6001.20000000,0",
    "1000.20000000,1000.20000000,1000.20000000,1000.20000000,0.00000000,{end},0.00000000,0,0.00000000,0.00000000,0",
    "1000.20000000,1001.00000000,1000.10000000,1000.90000000,3.25000000,{end},3251.00000000,7,1.00000000,1000.50000000,0",
]


def write_day(folder: Path, symbol: str, date: str, start: int, minutes: list[int], scale: int = 1) -> Path:
    """An archive zip with rows at ``minutes`` after ``start`` (ms), times multiplied by ``scale``."""
    lines = []
    for number, minute in enumerate(minutes):
        opened_at = start + minute * MINUTE
        end = (opened_at + MINUTE) * scale - 1
        lines.append(f"{opened_at * scale}," + LINES[number % 3].format(end=end))
    path = folder / f"{symbol}-1m-{date}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{symbol}-1m-{date}.csv", "\n".join(lines) + "\n")
    return path


async def test_made_up_days_replay_to_the_last_digit_and_halts_stay_empty(
    tmp_path: Path, simulate: Simulate
) -> None:
    minutes = [*range(600, 620), *range(700, 720)]
    write_day(tmp_path, "AAAUSDT", "2023-03-24", HALT_DAY, minutes)
    async with (
        simulate(replay=(tmp_path,), speed=None) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
    ):
        async with opened(sim, "/ws/aaausdt@kline_1m") as socket:
            events = await finals(socket, 40)
        times = [event["k"]["t"] for event in events]
        assert times == [HALT_DAY + minute * MINUTE for minute in minutes]
        assert [event["k"]["c"] for event in events][:3] == [
            "1000.20000000",
            "1000.20000000",
            "1000.90000000",
        ]
        assert events[1]["k"]["f"] == events[1]["k"]["L"] == -1
        assert (events[0]["k"]["f"], events[0]["k"]["L"], events[2]["k"]["f"]) == (1, 40, 41)
        query: dict[str, str | int] = {"symbol": "AAAUSDT", "interval": "1m", "limit": 1000}
        rows = (await api.get("/api/v3/klines", params=query)).json()
        assert [row[0] for row in rows] == times
        assert sim.candles("AAAUSDT", HALT_DAY, HALT_DAY + DAY)[0].volume == 12.5


async def test_microsecond_archives_are_understood(tmp_path: Path, simulate: Simulate) -> None:
    start = 1_735_776_000_000  # 2025-01-02
    path = write_day(tmp_path, "AAAUSDT", "2025-01-02", start, list(range(1440)), scale=1000)
    async with (
        simulate(replay=(tmp_path,), speed=None, start_ms=start + DAY - 5 * MINUTE) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
    ):
        async with opened(sim, "/ws/aaausdt@kline_1m") as socket:
            # The minute that ends at the very start is sent too.
            events = await finals(socket, 6)
        assert [event["k"]["t"] for event in events] == [start + DAY - n * MINUTE for n in (6, 5, 4, 3, 2, 1)]
        assert events[0]["k"]["T"] == events[0]["k"]["t"] + MINUTE - 1
        answer = await api.get(f"/data/spot/daily/klines/AAAUSDT/1m/{path.name}")
        assert answer.content == path.read_bytes()


async def test_after_the_end_the_clock_stands_and_everything_still_serves(
    tmp_path: Path, simulate: Simulate
) -> None:
    write_day(tmp_path, "AAAUSDT", "2023-03-24", HALT_DAY, list(range(1437, 1440)))
    async with (
        simulate(replay=(tmp_path,), speed=None) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
        opened(sim, "/ws/aaausdt@kline_1m") as socket,
    ):
        await finals(socket, 3)
        state = (await api.get("/control/state")).json()["clock"]
        while not state["at_end"]:
            state = (await api.get("/control/state")).json()["clock"]
        assert state["now_ms"] == HALT_DAY + DAY + 1000
        rows = (await api.get("/api/v3/klines?symbol=AAAUSDT&interval=1m")).json()
        assert len(rows) == 3


def test_without_files_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no SYMBOL-1m"):
        ReplaySource((tmp_path,))
    (tmp_path / "AAAUSDT-1m-2023-03-24.zip").write_bytes(b"not a zip")
    with pytest.raises(SourceError, match="AAAUSDT-1m-2023-03-24"):
        ReplaySource((tmp_path,)).spec("AAAUSDT")
    with pytest.raises(SourceError, match="BBBUSDT"):
        ReplaySource((tmp_path,), ("BBBUSDT",))


@recorded
async def test_every_recorded_candle_arrives_once_with_its_own_digits(simulate: Simulate) -> None:
    start = HALT_DAY - DAY // 2
    end = HALT_DAY + DAY
    expected: dict[int, list[str]] = {}
    for date in ("2023-03-23", "2023-03-24"):
        name = f"BTCUSDT-1m-{date}"
        with zipfile.ZipFile(ZIPS / f"{name}.zip") as archive:
            for line in archive.read(f"{name}.csv").decode().split():
                cells = line.split(",")
                if int(cells[0]) >= start - MINUTE:
                    expected[int(cells[0])] = cells
    assert len(expected) == 721 + 1360
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    settings = {"replay": (ZIPS,), "symbols": symbols, "speed": None, "start_ms": start, "end_ms": end}
    streams = "/".join(f"{symbol.lower()}@kline_1m" for symbol in symbols)
    async with simulate(**settings) as sim, opened(sim, f"/ws/{streams}") as socket:
        events = await finals(socket, 3 * len(expected), seconds=20)
    keys = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
    seen = {event["k"]["t"]: event["k"] for event in events if event["s"] == "BTCUSDT"}
    assert [event["k"]["t"] for event in events if event["s"] == "BTCUSDT"] == sorted(expected)
    for minute, cells in expected.items():
        assert [str(seen[minute][key]) for key in keys] == cells
    halted = range(HALT_DAY + 760 * MINUTE, HALT_DAY + 840 * MINUTE, MINUTE)
    assert not seen.keys() & set(halted)
    assert all(event["E"] > event["k"]["T"] for event in events)


@recorded
async def test_the_early_candle_is_final_early_and_then_nothing_exists(simulate: Simulate) -> None:
    noon = HALT_DAY + 758 * MINUTE
    async with (
        simulate(replay=(ZIPS,), symbols=("BTCUSDT",), speed=None, start_ms=noon) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
    ):
        async with opened(sim, "/ws/btcusdt@kline_1m/btcusdt@bookTicker") as socket:
            events = await finals(socket, 4)
        early, after = events[2]["k"], events[3]["k"]
        assert early["T"] == HALT_DAY + 759 * MINUTE + 41_646
        assert early["T"] < events[2]["E"] < HALT_DAY + 760 * MINUTE
        assert after["t"] == HALT_DAY + 840 * MINUTE
        query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": early["t"], "limit": 2}
        rows = (await api.get("/api/v3/klines", params=query)).json()
        assert [row[0] for row in rows] == [early["t"], after["t"]]
        assert rows[0][6] == early["T"]
        # Binance's own 15m archive ends that bar early as well.
        query |= {"interval": "15m", "startTime": HALT_DAY + 750 * MINUTE, "limit": 1}
        assert (await api.get("/api/v3/klines", params=query)).json()[0][6] == early["T"]


@recorded
async def test_in_a_halt_rest_is_quiet_and_says_so(simulate: Simulate) -> None:
    middle = HALT_DAY + 800 * MINUTE
    async with (
        simulate(replay=(ZIPS,), start_ms=middle) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
    ):
        rows = (await api.get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2")).json()
        assert rows[-1][0] == HALT_DAY + 759 * MINUTE
        info = (await api.get("/api/v3/exchangeInfo?symbol=BTCUSDT")).json()
        assert info["symbols"][0]["status"] == "HALT"
        assert (await api.get("/api/v3/ticker/price?symbol=BTCUSDT")).json()["price"] == rows[-1][4]


@recorded
async def test_recorded_bars_of_15_minutes_and_hours_come_out_of_the_minutes() -> None:
    config = SimulatorConfig(replay=(ZIPS,), symbols=("ETHUSDT",), start_ms=HALT_DAY + 3 * DAY)
    market = Simulator(config).market
    now = HALT_DAY + 3 * DAY
    for interval in ("15m", "1h"):
        name = f"ETHUSDT-{interval}-2023-03-24"
        with zipfile.ZipFile(DATA / "spot_daily_zips" / interval / f"{name}.zip") as archive:
            lines = [line.split(",") for line in archive.read(f"{name}.csv").decode().split()]
        rows = market.rows("ETHUSDT", interval, now, start=HALT_DAY, end=HALT_DAY + DAY - 1, limit=1000)
        assert [[str(cell) for cell in row] for row in rows] == [line[:11] for line in lines]


@recorded
async def test_the_archive_serves_the_published_bytes(simulate: Simulate) -> None:
    published = (ZIPS / "SOLUSDT-1m-2023-03-24.zip").read_bytes()
    place = "/data/spot/daily/klines/SOLUSDT/1m/SOLUSDT-1m-2023-03-24.zip"
    async with (
        simulate(replay=(ZIPS,), start_ms=HALT_DAY + DAY) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
    ):
        assert (await api.get(place)).content == published
        assert (await api.get(f"{place}.CHECKSUM")).text.split()[0] == hashlib.sha256(published).hexdigest()
        assert (await api.get(place.replace("03-24", "03-25"))).status_code == 404
        sim.faults.add("halt", symbol="SOLUSDT", start=HALT_DAY, minutes=60)
        with zipfile.ZipFile(io.BytesIO((await api.get(place)).content)) as archive:
            assert len(archive.read("SOLUSDT-1m-2023-03-24.csv").split()) == 1360 - 60

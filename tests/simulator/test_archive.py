"""Archive files: what exists when, and that they equal REST."""

from __future__ import annotations

import hashlib
import io
import zipfile

import httpx
from tests.simulator.conftest import Simulate
from tests.simulator.reader import DAY, MINUTE, START

from exchange_simulator import Simulator


def path(date: str, span: str = "daily", interval: str = "1m") -> str:
    return f"/data/spot/{span}/klines/BTCUSDT/{interval}/BTCUSDT-{interval}-{date}.zip"


def rows_of(content: bytes, stem: str) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [f"{stem}.csv"]
        return [line.split(",") for line in archive.read(f"{stem}.csv").decode().splitlines()]


async def test_a_finished_day_equals_rest_in_microseconds_and_has_its_checksum(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.get(path("2026-10-01"))
    assert answer.status_code == 200
    assert answer.headers["x-exchange-simulator"] == "1"
    checksum = (await api.get(path("2026-10-01") + ".CHECKSUM")).text
    name = "BTCUSDT-1m-2026-10-01.zip"
    assert checksum == f"{hashlib.sha256(answer.content).hexdigest()}  {name}\n"
    rows = rows_of(answer.content, name.removesuffix(".zip"))
    assert len(rows) == 1440
    start = START // DAY * DAY - DAY
    rest = []
    for begin in (start, start + 1000 * MINUTE):
        query = f"symbol=BTCUSDT&interval=1m&startTime={begin}&endTime={start + DAY - 1}&limit=1000"
        rest += (await api.get(f"/api/v3/klines?{query}")).json()
    assert len(rest) == 1440
    for ours, theirs in zip(rows, rest, strict=True):
        expected = [str(cell) for cell in theirs]
        expected[0] = str(theirs[0] * 1000)
        expected[6] = str(theirs[6] * 1000 + 999)
        assert ours == expected
    assert (await api.get(path("2026-10-01"))).content == answer.content


async def test_unfinished_and_unknown_files_are_missing(api: httpx.AsyncClient, standing: Simulator) -> None:
    wrong = [
        path("2026-10-02"),
        path("2026-10-02") + ".CHECKSUM",
        path("2026-02-30"),
        path("2020-01-01"),
        path("2026-10", "monthly"),
        path("2026-10-01").replace("BTCUSDT", "NOSUCH"),
        path("2026-10-01", interval="1w"),
        "/data/spot/anything",
    ]
    for missing in wrong:
        answer = await api.get(missing)
        assert answer.status_code == 404, missing
        assert answer.headers["x-exchange-simulator"] == "1"
    standing.clock.jump(START // DAY * DAY + DAY)
    assert (await api.get(path("2026-10-02"))).status_code == 200


async def test_monthly_files_and_longer_intervals(simulate: Simulate) -> None:
    async with (
        simulate(history_days=40) as sim,
        httpx.AsyncClient(base_url=sim.api_url, timeout=20) as api,
    ):
        month = (await api.get(path("2026-09", "monthly"))).content
        rows = rows_of(month, "BTCUSDT-1m-2026-09")
        assert len(rows) == 30 * 1440
        day = rows_of((await api.get(path("2026-09-30"))).content, "BTCUSDT-1m-2026-09-30")
        assert rows[-1440:] == day
        hours = (await api.get(path("2026-09-30", interval="1h"))).content
        assert len(rows_of(hours, "BTCUSDT-1h-2026-09-30")) == 24


async def test_the_archive_may_be_late(simulate: Simulate) -> None:
    async with (
        simulate(archive_delay_hours=12, start_ms=START) as sim,
        httpx.AsyncClient(base_url=sim.api_url) as api,
    ):
        assert (await api.get(path("2026-10-01"))).status_code == 404
        sim.clock.jump(START // DAY * DAY + DAY // 2)
        assert (await api.get(path("2026-10-01"))).status_code == 200


async def test_before_2025_times_are_milliseconds(simulate: Simulate) -> None:
    start = 1_735_819_200_000  # 2025-01-02 12:00
    async with simulate(start_ms=start) as sim, httpx.AsyncClient(base_url=sim.api_url) as api:
        old = rows_of((await api.get(path("2024-12-31"))).content, "BTCUSDT-1m-2024-12-31")
        new = rows_of((await api.get(path("2025-01-01"))).content, "BTCUSDT-1m-2025-01-01")
    assert (len(old[0][0]), len(new[0][0])) == (13, 16)
    assert old[-1][6] == "1735689599999"
    assert new[0][0] == "1735689600000000"
    assert new[0][6].endswith("999999")

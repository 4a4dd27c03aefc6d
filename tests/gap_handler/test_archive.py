"""History from the archives: equal to the exchange's, whatever is wrong with the files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from starlette.responses import Response
from tests.gap_handler.archive_server import ArchiveServer, copy, lines_of, serving, zip_of
from tests.gap_handler.harness import (
    DAY_MS,
    HOUR_MS,
    NOON,
    NOW,
    SYMBOL,
    Connection,
    Handler,
    eventually,
    expected,
    handler,
    rows,
    stored,
)

from exchange_simulator import Simulator
from gap_handler.archive import download, source
from gap_handler.archive.files import File, month_of
from marketdata.models import MINUTE_MS, Candle
from marketdata.settings import DatabaseSettings
from marketdata.store.ledger import record_missing

pytestmark = pytest.mark.database

TODAY = NOON - 12 * HOUR_MS
START = TODAY - 4 * DAY_MS
"""2026-02-27, the first day of what is missing here."""
DAYS = [File(SYMBOL, TODAY - n * DAY_MS, TODAY - (n - 1) * DAY_MS) for n in (4, 3, 2)]
"""Whose files are asked for: yesterday and today are REST's."""


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("archive_files_total", {"outcome": outcome}) or 0.0


@pytest.fixture
async def archive(tmp_path: Path, simulator: Simulator) -> AsyncIterator[ArchiveServer]:
    """A server with the simulator's files of ``DAYS``, before anything is done to them."""
    async with serving(tmp_path) as files:
        for file in DAYS:
            files.publish(file, await copy(simulator, file))
        yield files


@pytest.fixture
async def ledger(ledger: Connection) -> Connection:
    """The ledger with one gap of four and a half days, by the simulator's exchange."""
    await ledger.execute("UPDATE platform_state SET exchange = 'simulator'")
    await record_missing(ledger, SYMBOL, START, NOON, "start")
    return ledger


async def whole(connection: Connection, *, seconds: float = 40) -> None:
    """Return once every gap is closed."""

    async def closed() -> bool:
        return all(row["resolved"] for row in await rows(connection, "gap"))

    await eventually(closed, seconds=seconds)


async def fill(database: DatabaseSettings, simulator: Simulator, url: str, connection: Connection) -> None:
    async with handler(database, simulator.api_url, BINANCE_ARCHIVE_URL=url):
        await whole(connection)


async def sources(connection: Connection) -> dict[str, int]:
    records = await connection.fetch("SELECT source, count(*) FROM candles_1m GROUP BY source")
    return {record["source"]: record["count"] for record in records}


async def test_whole_days_come_from_the_archives_and_the_live_end_by_rest(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    before = counted("read")
    await fill(database, simulator, simulator.api_url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert await sources(ledger) == {"archive": 3 * 1440, "rest": 36 * 60}
    assert counted("read") == before + 3
    assert await ledger.fetchval("SELECT min(known_at) FROM candles_1m") == NOW, "the market's time"
    recovered = [row["candles_recovered"] for row in await rows(ledger, "gap")]
    assert recovered == [2 * 1440, 1440, 36 * 60]
    assert not await rows(ledger, "outage")


async def test_a_month_that_is_over_is_one_file(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    february = File(SYMBOL, *month_of(START))
    archive.publish(february, zip_of(lines_of(await copy(simulator, february), february), february))
    first = simulator.market.source.first_day(SYMBOL) * DAY_MS
    await ledger.execute("UPDATE data_quality_logs SET gap_start = $1", first)
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, first, NOON)
    assert archive.asked.count(f"{february.stem}.zip") == 1
    # The first of March is the only day that has a file of its own.
    assert {name for name in archive.asked if not name.startswith(february.stem + ".")} == {
        f"{DAYS[2].stem}.zip", f"{DAYS[2].stem}.zip.CHECKSUM",
    }  # fmt: skip


async def test_a_month_that_lacks_days_is_completed_by_the_days_and_by_rest(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    february = File(SYMBOL, *month_of(START))
    first = simulator.market.source.first_day(SYMBOL) * DAY_MS
    lines = lines_of(await copy(simulator, february), february)
    archive.publish(february, zip_of(lines[: -2 * 1440 - 100], february))
    archive.path(DAYS[0]).unlink()
    await ledger.execute("UPDATE data_quality_logs SET gap_start = $1", first)
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, first, NOON)
    found = await ledger.fetch(
        "SELECT source, min(time) AS first, count(*) FROM candles_1m WHERE time >= $1 AND time < $2"
        " GROUP BY source ORDER BY source", START - DAY_MS, START + 2 * DAY_MS,
    )  # fmt: skip
    assert [tuple(record) for record in found] == [
        ("archive", START - DAY_MS, 1340 + 1440),  # what the month's file has, and the 28th's own
        ("rest", START - 100 * MINUTE_MS, 100 + 1440),
    ]


async def damaged(archive: ArchiveServer, kind: str) -> None:
    """Do ``kind`` to the newest file."""
    file = DAYS[2]
    content = archive.path(file).read_bytes()
    lines = lines_of(content, file)
    match kind:
        case "checksum":
            archive.publish(file, content, checksum_of=b"something else")
        case "no checksum":
            archive.path(file).with_name(f"{file.stem}.zip.CHECKSUM").unlink()
        case "another's checksum":
            line = archive.path(DAYS[1]).with_name(f"{DAYS[1].stem}.zip.CHECKSUM").read_text()
            archive.path(file).with_name(f"{file.stem}.zip.CHECKSUM").write_text(line)
        case "cut short":
            archive.path(file).write_bytes(content[:-1000])
        case "published cut short":
            archive.publish(file, content[:-1000])
        case "malformed line":
            archive.publish(file, zip_of([*lines[:700], b"oops", *lines[700:]], file))
        case "absent":
            archive.path(file).unlink()
        case "empty":
            archive.publish(file, zip_of([], file))
        case "other days":
            archive.publish(file, zip_of(lines_of(archive.path(DAYS[1]).read_bytes(), DAYS[1]), file))
        case "shuffled and doubled":
            archive.publish(file, zip_of([*lines[::-1], *lines[:500]], file))
        case _:
            raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "outcome", "taken"),
    [
        ("checksum", "checksum", 0),
        ("no checksum", "absent", 0),
        ("another's checksum", "checksum", 0),
        ("cut short", "checksum", 0),
        ("published cut short", "unreadable", 0),
        ("malformed line", "partial", 700),
        ("absent", "absent", 0),
        ("empty", "read", 0),
        ("other days", "read", 0),
        ("shuffled and doubled", "read", 1440),
    ],
)
async def test_a_damaged_file_costs_its_use_and_nothing_else(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer,
    kind: str, outcome: str, taken: int,
) -> None:  # fmt: skip
    before = counted(outcome)
    await damaged(archive, kind)
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert await sources(ledger) == {"archive": 2 * 1440 + taken, "rest": 36 * 60 + 1440 - taken}
    assert counted(outcome) - before == (3 if outcome == "read" else 1)
    assert archive.asked.count(f"{DAYS[2].stem}.zip.CHECKSUM") == 1, "asked for once"


async def test_impossible_rows_are_evidence_once_and_rest_has_the_minute(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    file = DAYS[2]
    lines = lines_of(archive.path(file).read_bytes(), file)
    late = (file.start + 5 * MINUTE_MS + 14_789) * 1000
    lines[5] = b"%d," % late + lines[5].split(b",", 1)[1]
    cells = lines[9].split(b",")
    lines[9] = b",".join([*cells[:3], b"0", *cells[4:]])  # its low
    archive.publish(file, zip_of(lines, file))
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert await sources(ledger) == {"archive": 3 * 1440 - 2, "rest": 36 * 60 + 2}
    evidence = [file.start + 5 * MINUTE_MS + 14_789, file.start + 9 * MINUTE_MS]
    assert [row["gap_start"] for row in await rows(ledger, "invalid")] == evidence
    # Another handler, the same day again: no second evidence.
    await ledger.execute("DELETE FROM candles_1m WHERE time >= $1 AND time < $2", file.start, file.end)
    await record_missing(ledger, SYMBOL, file.start, file.end, "request")
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert [row["gap_start"] for row in await rows(ledger, "invalid")] == evidence


async def test_archives_that_fail_are_tried_again_and_then_left_alone(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    failures = {"left": 2}

    def sometimes(path: str) -> Response | None:
        if failures["left"]:
            failures["left"] -= 1
            return Response("busy", 503)
        return None

    archive.misbehave = sometimes
    await fill(database, simulator, archive.url, ledger)
    assert (await sources(ledger))["archive"] == 3 * 1440, "the third try has it"
    archive.misbehave = lambda path: Response("busy", 503)
    await ledger.execute("DELETE FROM candles_1m")
    await record_missing(ledger, SYMBOL, START, NOON, "request")
    archive.asked.clear()
    before = counted("unavailable")
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert await sources(ledger) == {"rest": 4 * 1440 + 720}
    # Two pieces may have asked at once; none does so again.
    assert 3 <= len(archive.asked) <= 6
    assert counted("unavailable") - before == len(archive.asked) / 3


async def test_slow_archives_are_given_up(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(download, "FILE_SECONDS", 0.3)
    archive.misbehave = lambda path: 5.0 if path.endswith(".zip") else None
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert "archive" not in await sources(ledger)


async def test_a_second_address_has_what_the_first_lacks(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    archive.path(DAYS[0]).unlink()
    await damaged(archive, "checksum")
    await fill(database, simulator, f"http://127.0.0.1:9,{archive.url},{simulator.api_url}", ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert (await sources(ledger))["archive"] == 3 * 1440


async def test_a_file_too_large_is_not_taken(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(download, "PACKED_MOST", 10_000)
    before = counted("too_large")
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert "archive" not in await sources(ledger)
    assert counted("too_large") == before + 3


async def test_archives_of_another_exchange_are_off_and_rest_goes_on(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    archive.headers = {}  # as the real ones: nothing says that they are simulated
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert "archive" not in await sources(ledger)
    assert all(name.endswith(".CHECKSUM") for name in archive.asked), "not even downloaded"
    assert len(archive.asked) <= 2
    assert await ledger.fetchval("SELECT exchange FROM platform_state") == "simulator"


async def test_no_place_for_a_file_is_no_reason_to_stop(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    await fill(database, simulator, archive.url, ledger)
    assert await stored(ledger) == expected(simulator, START, NOON)
    assert await sources(ledger) == {"rest": 4 * 1440 + 720}


async def test_only_missing_minutes_are_written_and_better_ones_stay(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer
) -> None:
    file = DAYS[2]
    kept = Candle(SYMBOL, file.start + MINUTE_MS, 1.0, 2.0, 0.5, 1.5, 1.0, 1.0, 1, 0.5, 0.5)
    await ledger.execute(
        "INSERT INTO candles_1m VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'stream', $12)",
        *kept, NOW,
    )  # fmt: skip
    await fill(database, simulator, archive.url, ledger)
    there = {candle.time: candle for candle in await stored(ledger)}
    assert there.pop(kept.time) == kept, "nobody asked for it"
    wanted = [candle for candle in expected(simulator, START, NOON) if candle.time != kept.time]
    assert list(there.values()) == wanted
    assert not await rows(ledger, "revision")


async def test_health_answers_while_a_month_is_read(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, archive: ArchiveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A month in one-row slices takes seconds of CPU: the service answers in the middle of it."""
    monkeypatch.setattr(source, "_SLICE", 1)
    reading = asyncio.Event()

    def note(path: str) -> None:
        if path.endswith(".zip"):
            reading.set()

    archive.misbehave = note
    async with handler(database, simulator.api_url, BINANCE_ARCHIVE_URL=archive.url) as service:
        await reading.wait()
        for _ in range(5):
            assert (await _health(service))["status"] == "healthy"
        await whole(ledger)
    assert (await sources(ledger))["archive"] == 3 * 1440


async def _health(service: Handler) -> dict[str, object]:
    async with asyncio.timeout(5):
        return await service.health()

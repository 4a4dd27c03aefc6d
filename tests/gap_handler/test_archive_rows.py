"""What is read out of an archive file: real ones as published, odd rows, and damage."""

from __future__ import annotations

import csv
import gzip
import io
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gap_handler.archive_server import zip_of

from gap_handler.archive import rows
from gap_handler.archive.files import DAY_MS, File
from gap_handler.archive.outcome import Outcome, UnusableError
from gap_handler.plan import Run
from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.models import MINUTE_MS

DAY = 1_772_409_600_000
"""2026-03-02T00:00:00Z."""
FILE = File("BTCUSDT", DAY, DAY + DAY_MS)
WHOLE = [Run(DAY, DAY + DAY_MS)]
LATER = DAY + 3 * DAY_MS


def line(minute: int, *, close: str = "1.5", start: int = DAY, micro: bool = True, late: int = 0) -> bytes:
    time = start + minute * MINUTE_MS + late
    end = time + MINUTE_MS - 1
    times = (time * 1000, end * 1000 + 999) if micro else (time, end)
    return f"{times[0]},1.0,2.0,0.5,{close},10.0,{times[1]},15.0,3,5.0,7.5,0".encode()


def read(content: bytes, file: File = FILE) -> tuple[list[RestCandle], UnusableError | None]:
    """Return the candles up to the end, or up to what ended them."""
    found: list[RestCandle] = []
    try:
        for row in rows.read(io.BytesIO(content), file):
            found.append(row)
    except UnusableError as error:
        return found, error
    return found, None


def wanted(content: bytes, missing: list[Run], now: int = LATER) -> tuple[list[int], rows.Wanted]:
    """Return the minutes (of the day) that are chosen."""
    picked = rows.Wanted(FILE, missing, now)
    candles = rows.read(io.BytesIO(content), FILE)
    while picked.take(candles, 7):
        pass
    return [(row.candle.time - DAY) // MINUTE_MS for row in picked.chosen()], picked


def test_either_unit_with_and_without_a_header_is_the_same_day() -> None:
    header = (
        b"open_time,open,high,low,close,volume,close_time,quote_volume,count,"
        b"taker_buy_volume,taker_buy_quote_volume,ignore"
    )
    plain = read(zip_of([line(n) for n in range(1440)], FILE))
    assert plain[1] is None
    assert len(plain[0]) == 1440
    assert plain[0][1].candle.time == DAY + MINUTE_MS
    assert plain[0][1].close_time == DAY + 2 * MINUTE_MS - 1
    mixed = [line(n, micro=n >= 700) for n in range(1440)]
    for those in (mixed, [header, *mixed], [b"\xef\xbb\xbf" + mixed[0], *mixed[1:], b""]):
        assert read(zip_of(those, FILE)) == plain


def test_real_files_are_read_exactly(real_data: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        for day in ("2023-03-23", "2023-03-24"):
            path = real_data / "spot_daily_zips" / "1m" / f"{symbol}-1m-{day}.zip"
            with zipfile.ZipFile(path) as archive:
                text = archive.read(archive.namelist()[0]).decode()
            start = int(text[:13])
            file = File(symbol, start, start + DAY_MS)
            assert path.name == f"{file.stem}.zip"
            found, ended = read(path.read_bytes(), file)
            assert ended is None
            assert [(*c.candle[1:], c.close_time) for c in found] == [
                (int(r[0]), *map(float, r[1:6]), float(r[7]), int(r[8]), float(r[9]), float(r[10]), int(r[6]))
                for r in csv.reader(io.StringIO(text))
            ]


@pytest.mark.parametrize("name", ["ALGOUSDT-1m-2023-02", "AVAXUSDT-1m-2026-02"])
def test_real_days_with_and_without_header_are_whole(real_data: Path, name: str) -> None:
    lines = gzip.decompress(
        (real_data / "archive_oddities" / f"futures_um_{name}_first_day.csv.gz").read_bytes()
    ).splitlines()
    first = next(int(cell) for cell in (line.split(b",")[0] for line in lines) if cell.isdigit())
    file = File(name[:8], first, first + DAY_MS)
    found, ended = read(zip_of(lines, file), file)
    assert ended is None
    assert [row.candle.time for row in found] == list(range(first, first + DAY_MS, MINUTE_MS))


def test_real_odd_rows_are_candles_only_where_they_can_be(real_data: Path) -> None:
    text = (real_data / "archive_oddities" / "odd_archive_rows.csv").read_text()
    for record in csv.DictReader(io.StringIO(text)):
        row = rows.decode(",".join(list(record.values())[3:]).encode(), record["symbol"])
        problem = candle_problem(row.candle)
        assert (problem is not None) is ("OFF_GRID" in record["shape"]), record


def test_real_microseconds_since_2025(real_data: Path) -> None:
    for name, micro in (("2024-12", False), ("2025-01", True)):
        text = (real_data / "archive_oddities" / f"spot_BTCUSDT-1h-{name}.csv").read_text().splitlines()
        for those in text:
            cell = int(those.split(",")[0])
            assert (cell >= 10**15) is micro
            assert rows.decode(those.encode(), "BTCUSDT").candle.time == (cell // 1000 if micro else cell)


def test_only_missing_minutes_that_are_over_are_chosen_once_and_in_order() -> None:
    lines = [line(n) for n in range(1440)] + [line(3), line(1440), line(-1)]
    random.Random(5).shuffle(lines)
    missing = [Run(DAY - DAY_MS, DAY + 5 * MINUTE_MS), Run(DAY + 100 * MINUTE_MS, DAY + 102 * MINUTE_MS)]
    chosen, picked = wanted(zip_of(lines, FILE), missing)
    assert chosen == [0, 1, 2, 3, 4, 100, 101]
    assert (picked.strays, picked.contradicted, picked.rows) == (2, 0, 1443)
    chosen, _ = wanted(zip_of(lines, FILE), WHOLE, now=DAY + 10 * MINUTE_MS)
    assert chosen == list(range(9)), "the newest minute may still settle"


def test_a_minute_the_file_contradicts_itself_on_is_not_taken() -> None:
    chosen, picked = wanted(zip_of([line(0), line(1), line(2), line(1, close="1.6")], FILE), WHOLE)
    assert (chosen, picked.contradicted) == ([0, 2], 1)


def test_impossible_rows_are_chosen_for_the_ledger() -> None:
    off = line(5, late=14_789)
    sixth = (DAY + 6 * MINUTE_MS) * 1000
    hair = line(6).replace(str(sixth).encode(), str(sixth + 7).encode())
    picked = rows.Wanted(FILE, WHOLE, LATER)
    picked.take(rows.read(io.BytesIO(zip_of([line(4), off, hair, line(7, close="nan")], FILE)), FILE), 99)
    assert [candle_problem(row.candle) is None for row in picked.chosen()] == [True, False, False, False]


@pytest.mark.parametrize(
    "wrong",
    [
        b"1,2,3", line(1) + b",9", line(1).replace(b"1.5", b"x"), line(1).replace(b"15.0", b""),
        line(1).replace(b",3,", b",3.5,"), line(1).replace(b",3,", b",99999999999999999999,"),
        line(1).replace(b"10.0", b"1_0.0"), line(1) + b"0" * 5000, b"\x00" * 40,
    ],
)  # fmt: skip
def test_a_line_that_is_not_of_the_format_ends_the_file(wrong: bytes) -> None:
    found, ended = read(zip_of([line(0), wrong, line(2)], FILE))
    assert [row.candle.time for row in found] == [DAY]
    assert ended is not None
    assert ended.outcome is Outcome.PARTIAL
    assert "line 2" in str(ended)


def test_what_is_no_zip_or_holds_something_else_is_unreadable() -> None:
    whole = zip_of([line(n) for n in range(1440)], FILE)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(f"{FILE.stem}.csv", line(0))
    for content in (
        b"",
        b"<html>",
        whole[:-500],
        zip_of([line(0)], FILE, name="other.csv"),
        other.getvalue(),
    ):
        found, ended = read(content)
        assert found == []
        assert ended is not None
        assert ended.outcome is Outcome.UNREADABLE


def test_a_bomb_is_left_before_it_goes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "UNPACKED_MOST", 100_000)
    found, ended = read(zip_of([line(0)] * 200_000, FILE))
    assert ended is not None
    assert ended.outcome is Outcome.TOO_LARGE
    assert len(found) <= 100_000 // len(line(0))


@settings(deadline=None)  # a busy machine is no finding
@given(st.binary(max_size=300), st.integers(0, 60_000))
def test_no_damage_breaks_the_reader(noise: bytes, at: int) -> None:
    content = zip_of([line(n) for n in range(1440)], FILE)
    at %= len(content)
    read(noise)
    found, _ = read(content[:at] + noise + content[at + len(noise) :])
    assert len(found) <= 1440

"""Columns or nothing: what is read in pieces is what lines say, and whatever is odd is left to those."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gap_handler.archive_server import zip_of

from gap_handler.archive import rows, table
from gap_handler.archive.files import DAY_MS, File
from gap_handler.archive.outcome import UnusableError
from gap_handler.archive.table import OddError, Table
from gap_handler.plan import Run
from marketdata.candles import candle_problem
from marketdata.models import MINUTE_MS, Candle

DAY = 1_772_409_600_000
"""2026-03-02T00:00:00Z."""
FILE = File("BTCUSDT", DAY, DAY + DAY_MS)
WHOLE = [Run(DAY, DAY + DAY_MS)]
LATER = DAY + 3 * DAY_MS


def line(minute: int, *, micro: bool = True, price: str = "1.10000000") -> bytes:
    time = DAY + minute * MINUTE_MS
    times = (time * 1000, (time + MINUTE_MS) * 1000 - 1) if micro else (time, time + MINUTE_MS - 1)
    return f"{times[0]},{price},2.0,0.5,1.{minute:08},10.0,{times[1]},15.0,3,5.0,7.5,0".encode()


LINES = [line(n) for n in range(1440)]


def columns(content: bytes, missing: list[Run], now: int = LATER) -> list[Candle] | None:
    """Return what is read in columns; None where something is odd."""
    reader = Table(io.BytesIO(content), FILE, missing, now)
    try:
        while reader.take():
            pass
    except OddError:
        return None
    return list(reader.wanted.candles())


def by_line(content: bytes, missing: list[Run], now: int = LATER) -> list[Candle] | None:
    """Return what is read line by line; None where something is odd, or the file ends early."""
    wanted = rows.Wanted(FILE, missing, now)
    candles = rows.read(io.BytesIO(content), FILE)
    try:
        while wanted.take(candles, 500):
            pass
    except UnusableError:
        return None
    found = [row.candle for row in wanted.chosen()]
    return None if wanted.strays or wanted.contradicted or any(map(candle_problem, found)) else found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PIECE_BYTES", 1000)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("micro", [True, False])
def test_a_file_in_order_is_read_as_columns(micro: bool) -> None:
    those = [line(n, micro=micro) for n in range(1440)]
    content = zip_of(those, FILE)
    found = columns(content, WHOLE)
    assert found is not None
    assert found == by_line(content, WHOLE)
    assert [candle.time for candle in found] == list(range(DAY, DAY + DAY_MS, MINUTE_MS))
    unended = io.BytesIO()
    with zipfile.ZipFile(unended, "w") as archive:
        archive.writestr(f"{FILE.stem}.csv", b"\n".join(those[:10]))
    assert columns(unended.getvalue(), WHOLE) == found[:10]


@pytest.mark.usefixtures("small")
def test_only_missing_minutes_are_taken() -> None:
    missing = [
        Run(DAY - DAY_MS, DAY + 5 * MINUTE_MS), Run(DAY + 100 * MINUTE_MS, DAY + 102 * MINUTE_MS),
        Run(DAY + 103 * MINUTE_MS, DAY + 104 * MINUTE_MS), Run(DAY + 1439 * MINUTE_MS, DAY + 2 * DAY_MS),
    ]  # fmt: skip
    content = zip_of(LINES, FILE)
    found = columns(content, missing)
    assert found == by_line(content, missing)
    assert found is not None
    assert [(candle.time - DAY) // MINUTE_MS for candle in found] == [*range(5), 100, 101, 103, 1439]
    holed = zip_of([*LINES[:3], *LINES[101:]], FILE)
    assert columns(holed, missing) == by_line(holed, missing) is not None


@pytest.mark.parametrize(
    "those",
    [
        [b"open_time,open", *LINES], [b"\xef\xbb\xbf" + LINES[0]], [LINES[0] + b"\r"], [*LINES[:2], b""],
        [LINES[1], LINES[0]], [*LINES[:3], LINES[1]], [LINES[0], LINES[0]], [line(-1), *LINES], [line(1440)],
        [line(0), line(1, micro=False)], [LINES[0].replace(b"60", b"61", 1)], [LINES[0] + b",1"], [],
        # One cell too few and one too many are as many as they should be.
        [LINES[0].rpartition(b",")[0], LINES[1] + b",1"], [LINES[0][:-1], LINES[1]], [b"1" * 200_000],
        *([line(0, price=price)] for price in ("nan", "inf", "-1", "0", "0.4", "2.5", "1e0", "+1", "", "1_0",
                                               "9" * 400, "true", "null", '"1"', "[1]", "1.", ".9", "01.1")),
        [LINES[0].replace(b",3,", b",3.0,")], [LINES[0].replace(b",3,", b",9223372036854775808,")],
    ],
)  # fmt: skip
def test_whatever_is_odd_is_left_to_the_lines(those: list[bytes]) -> None:
    assert columns(zip_of(those, FILE), WHOLE) in (None, [])
    assert columns(zip_of([*LINES[:700], *those], FILE), WHOLE) in (
        None,
        by_line(zip_of(LINES[:700], FILE), WHOLE),
    )


def test_minutes_that_are_not_over_are_left_to_the_lines() -> None:
    assert columns(zip_of(LINES, FILE), WHOLE, now=DAY + DAY_MS + 999) is None
    assert columns(zip_of(LINES, FILE), WHOLE, now=DAY + DAY_MS + 1000) is not None


def test_what_is_damaged_is_left_to_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    content = zip_of(LINES, FILE)
    assert columns(content[:-500], WHOLE) is None
    assert columns(b"", WHOLE) is None
    assert columns(content[:200] + b"\0\0\0\0" + content[204:], WHOLE) is None
    monkeypatch.setattr(rows, "UNPACKED_MOST", 10_000)
    assert columns(content, WHOLE) is None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 29), st.integers(0, 100), st.integers(0, 3),
    st.text("0123456789.,\n-e+_ nt", max_size=6) | st.sampled_from([",0\n", "\n\n", ".0", "00"]),
)  # fmt: skip
def test_columns_never_say_what_lines_do_not(number: int, at: int, cut: int, put: str) -> None:
    """Any small damage: both read the same, or the columns leave it alone."""
    those = LINES[:30]
    those[number] = those[number][:at] + put.encode() + those[number][at + cut :]
    content = zip_of(those, FILE)
    found = columns(content, WHOLE)
    assert found is None or found == by_line(content, WHOLE)

"""Which archive files are asked for, and where they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gap_handler.archive.files import DAY_MS, DAY_WORTH_MINUTES, File, missing_by_day, month_of, next_file
from gap_handler.plan import Run, minutes_of
from marketdata.minutes import from_datetime
from marketdata.models import MINUTE_MS


def at(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


NOW = at("2026-03-18 12:00")


def all_files(*missing: Run, now: int = NOW, gone: set[File] | None = None) -> list[str]:
    """Return every file asked for in turn, each of which has nothing."""
    passed, asked = set(gone or ()), list[str]()
    while (file := next_file("BTCUSDT", missing, now, passed)) is not None:
        passed.add(file)
        asked.append(file.stem.removeprefix("BTCUSDT-1m-"))
    return asked


def test_paths_are_the_exchanges() -> None:
    day = File("BTCUSDT", at("2026-11-19"), at("2026-11-20"))
    month = File("BTCUSDT", *month_of(at("2026-10-05 07:00")))
    assert day.path == "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-19.zip"
    assert month.path == "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-10.zip"
    assert (month.start, month.end) == (at("2026-10-01"), at("2026-11-01"))
    assert month_of(at("2026-12-31 23:59")) == (at("2026-12-01"), at("2027-01-01"))
    # Some listed symbols contain letters that a URL must not.
    assert File("币安USDT", 0, DAY_MS).path.isascii()


def test_a_month_that_is_over_is_one_file_and_its_days_come_after_it() -> None:
    asked = all_files(Run(at("2026-02-01"), at("2026-03-01")))
    assert asked == ["2026-02"] + [f"2026-02-{day:02}" for day in range(28, 0, -1)]


def test_a_few_days_of_a_month_are_files_of_their_own() -> None:
    assert all_files(Run(at("2026-02-03"), at("2026-02-06"))) == ["2026-02-05", "2026-02-04", "2026-02-03"]


def test_the_running_month_comes_by_the_day_and_the_live_end_by_rest() -> None:
    asked = all_files(Run(at("2026-03-14"), NOW))
    assert asked == ["2026-03-16", "2026-03-15", "2026-03-14"], "yesterday is REST's, too"
    assert all_files(Run(at("2026-03-17"), NOW)) == []
    # The first of a month: last month's last day is yesterday, its file has still to come.
    assert all_files(Run(at("2026-02-27"), at("2026-03-01")), now=at("2026-03-01 00:05")) == ["2026-02-27"]


def test_what_one_request_has_is_left_to_rest() -> None:
    start = at("2026-02-03")
    assert all_files(Run(start, start + DAY_WORTH_MINUTES * MINUTE_MS)) == []
    assert all_files(Run(start, start + (DAY_WORTH_MINUTES + 1) * MINUTE_MS)) == ["2026-02-03"]
    # Most of the day is missing, in pieces.
    holes = [Run(start + n * 60 * MINUTE_MS, start + (n * 60 + 50) * MINUTE_MS) for n in range(24)]
    assert all_files(*holes) == ["2026-02-03"]


def test_days_before_the_first_minute_are_not_asked_for() -> None:
    # ``missing`` ends where the listing begins, so a month is asked for by its days that are missing.
    assert all_files(Run(at("2026-02-26 10:00"), at("2026-03-01"))) == ["2026-02-28", "2026-02-27"]


@given(
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 20_000)), max_size=6), st.integers(0, 10**6)
)
def test_asking_ends_and_every_file_is_over(runs: list[tuple[int, int]], now: int) -> None:
    missing = [Run(start * MINUTE_MS, (start + length) * MINUTE_MS) for start, length in runs]
    passed: set[File] = set()
    while (file := next_file("X", missing, now * MINUTE_MS, passed)) is not None:
        assert file not in passed
        assert file.end <= now * MINUTE_MS
        assert any(run.start < file.end and file.start < run.end for run in missing)
        passed.add(file)
    assert sum(missing_by_day(missing).values()) == minutes_of(missing)


@pytest.mark.parametrize("days", [3, 4])
def test_a_month_is_worth_it_from_four_days_on(days: int) -> None:
    asked = all_files(Run(at("2026-02-10"), at("2026-02-10") + days * DAY_MS))
    assert (asked[0] == "2026-02") is (days >= 4)

"""docs/scaling.md says what its constants say."""

from dataclasses import replace

import pytest
from benchmarks import scaling


def test_the_tables_follow_from_the_constants() -> None:
    document = scaling.DOCUMENT.read_text(encoding="utf-8")
    assert scaling.written(document) == document, "run python -m benchmarks.scaling"


def test_what_is_not_measured_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scaling.CONSTANTS, "wal", replace(scaling.CONSTANTS["wal"], value=None))
    line = next(line for line in scaling.arithmetic_table().splitlines() if line.startswith("| WAL"))
    assert line.count(scaling.UNKNOWN) == len(scaling.CASES)


def test_the_arithmetic_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"candle_column": 30.0, "book_column": 20.0, "feature": 100.0, "feeder_symbols": 1000.0,
             "feeder_base": 100.0, "feeder_symbol": 1.0}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setitem(scaling.CONSTANTS, name, replace(scaling.CONSTANTS[name], value=value))
    case = scaling.Case(10, 2000)
    assert scaling.sockets(512) == 1
    assert scaling.sockets(513) == 2
    assert scaling.sockets(2000) == 4
    assert scaling.first_fill_requests(1) == 569, "395 days of 1,440 minutes, 1,000 a request"
    assert scaling.kept(case, "column") == 20_000 * 1440 * (395 * 50 + 31 * 100)
    # 2,000 symbols of an exchange are two feeders'.
    assert scaling.shards(case) == 20
    assert scaling.connections(case) == 20 * 3 + 10 * 16
    assert scaling.memory(case) == pytest.approx(20 * (100 + 997) * 1e6)
    assert scaling.shards(scaling.Case(1, 3)) == 1


def test_numbers_are_for_people() -> None:
    assert [scaling.count(n) for n in (3, 4320, 28_800_000, 11_376_000_000, 0.25)] == [
        "3", "4,320", "28.8 million", "11.4 billion", "0.25",
    ]  # fmt: skip
    assert [scaling.size(n) for n in (500, 2.5e6, 3e9, 4.1e12)] == ["0.5 kB", "2.5 MB", "3.0 GB", "4.1 TB"]
    assert [scaling.duration(s) for s in (5, 90, 7200, 200_000)] == ["5 s", "1.5 min", "2.0 h", "2.3 d"]

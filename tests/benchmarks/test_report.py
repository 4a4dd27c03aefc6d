"""What a run says of its figures, and what a later program reads back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmarks.harness import Curve, Options, Report, Result, Target
from benchmarks.report import cells, from_json, machine, main, number, table, to_json

RATES = Result("rows", "rows/s", [50_000.0, 60_000.0, 70_000.0], [100_000.0, 80_000.0, 70_000.0], "COPY",
               Target(">=", 0.6))  # fmt: skip
TIME = Result("ready", "s", [9.0, 7.0], target=Target("<=", 8.0))
COUNT = Result("updates", "updates/s", [1.0])


def _report() -> Report:
    curve = Curve("cost of a minute", "symbols", "ms", [(1, [1.0, 2.0]), (1500, [90.5])], "by the symbol")
    return Report([RATES, TIME, COUNT], [curve], {"server": "PostgreSQL 18", "rows": 5})


def _quick(options: Options) -> Report:
    """Stands for a benchmark."""
    return Report(
        [Result("rounds asked for", "", [float(options.rounds or 0)])], facts={"quick": options.quick}
    )


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    assert RATES.values == [0.5, 0.75, 1.0]
    assert RATES.median == 0.75


def test_a_target_is_met_by_the_median_and_missed_by_it() -> None:
    assert RATES.met is True
    assert Result("rows", "", [1.0, 5.0], [2.0, 9.0], "x", Target(">=", 0.6)).met is False
    assert TIME.met is True
    assert Result("ready", "s", [9.0, 7.5], target=Target("<=", 8.0)).met is False
    assert COUNT.met is None


def test_rounds_without_their_counterpart_are_refused() -> None:
    with pytest.raises(ValueError, match="rows: 2 rounds of ours, 1 of the other"):
        Result("rows", "", [1.0, 2.0], [1.0], "x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (0.75, "0.750"),
        (12.345, "12.3"),
        (999.4, "999"),
        (54_321.9, "54,322"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_has_a_line_a_result_and_aligned_columns() -> None:
    lines = table({"stream": _report()}).splitlines()
    assert [line.count("|") for line in lines[:5]] == [8] * 5
    assert len({len(line) for line in lines[:5]}) == 1
    words = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert words == ["stream: rows", "60,000 rows/s", "80,000 rows/s (COPY)", "0.750", "0.500 to 1.00",
                     ">= 0.6", "met"]  # fmt: skip
    assert lines[5:] == ["", "stream: cost of a minute: by the symbol"]


def test_a_result_without_a_counterpart_shows_its_own_values() -> None:
    assert cells(TIME) == ("ready", "8.00 s", "", "", "7.00 to 9.00", "<= 8", "met")
    assert cells(COUNT)[-2:] == ("", "")


def test_a_table_of_nothing_is_its_headings() -> None:
    assert len(table({}).splitlines()) == 2


def test_json_brings_back_the_same_report() -> None:
    plain = json.loads(json.dumps(to_json(_report())))
    assert plain["results"][0]["figure"] == {"median": 0.75, "lowest": 0.5, "highest": 1.0, "met": True}
    back = from_json(plain)
    assert json.loads(json.dumps(to_json(back))) == plain
    assert back.results[0].target == RATES.target
    assert back.curves[0].points == [(1, [1.0, 2.0]), (1500, [90.5])]


def test_one_benchmark_prints_its_table_and_writes_what_it_was_measured_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "one.json"
    assert main(_quick, ["--json", str(written), "--rounds", "3", "--quick"]) == 0
    assert "rounds asked for" in capsys.readouterr().out
    found = json.loads(written.read_text())
    (plain,) = found["benchmarks"].values()
    assert from_json(plain).results[0].ours == [3.0]
    assert plain["facts"] == {"quick": True}
    assert set(found["machine"]) > {
        "cores",
        "cpu",
        "memory_gb",
        "kernel",
        "python",
        "load_before",
        "load_after",
    }
    assert found["machine"]["packages"]["asyncpg"]


def test_a_part_is_one_of_those_its_module_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str | None] = []

    def run(options: Options) -> Report:
        asked.append(options.part)
        return Report([COUNT])

    monkeypatch.setattr(sys.modules[__name__], "PARTS", ("rest", "gap"), raising=False)
    assert main(run, ["rest"]) == main(run, []) == 0
    assert asked == ["rest", None]
    with pytest.raises(SystemExit):
        main(run, ["archive"])
    assert "invalid choice: 'archive' (choose from 'rest', 'gap')" in capsys.readouterr().err
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        main(run, ["rest"])
    assert "unrecognized arguments: rest" in capsys.readouterr().err


@pytest.mark.parametrize("rounds", ["0", "-1", "three"])
def test_rounds_that_are_none_are_refused(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(_quick, [f"--rounds={rounds}"])
    assert f"'{rounds}' is not a number of rounds" in capsys.readouterr().err


def test_the_machine_is_named() -> None:
    facts = machine()
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert facts["commit"]

"""Which benchmarks there are, and what becomes of one that crashes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import __main__ as runner
from benchmarks.harness import Report, Result
from benchmarks.report import to_json

ROOT = Path(__file__).resolve().parents[2]


def _source(name: str) -> Path:
    path = ROOT / "benchmarks" / f"{name}.py"
    return path if path.exists() else ROOT / "benchmarks" / name / "__init__.py"


def test_all_are_run_in_order_where_none_is_named() -> None:
    assert runner.chosen_names([]) == list(runner.NAMES)


def test_a_name_given_twice_runs_once() -> None:
    assert runner.chosen_names(["peers", "stream", "peers"]) == ["peers", "stream"]


def test_an_unknown_name_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        runner.main(["stream", "speed"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no benchmark is called speed" in said
    assert all(name in said for name in runner.NAMES)


def test_help_has_a_line_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runner.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in runner.NAMES:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert len(line.split()) > 3, f"{name} has no first line that says what it measures"


@pytest.mark.parametrize("name", runner.NAMES)
def test_every_name_has_a_module_with_a_run(name: str) -> None:
    tree = ast.parse(_source(name).read_text())
    assert ast.get_docstring(tree)
    run = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run")
    assert [argument.arg for argument in run.args.args] == ["options"]


@pytest.mark.parametrize("name", runner.NAMES)
def test_every_one_run_alone_reports_as_all_do(name: str) -> None:
    program = _source(name)
    if program.name == "__init__.py":
        program = program.with_name("__main__.py")
    text = program.read_text()
    assert "from benchmarks.report import main\n" in text
    assert text.endswith("sys.exit(main(run))\n")


def test_names_are_checked_by_a_python_that_has_nothing_installed() -> None:
    command = [sys.executable, "-I", "-S", "-c",
               f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import benchmarks.__main__ as m;"
               " sys.exit(m.main(['--names', 'history']))"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "history\n"), done.stderr


def test_a_crash_is_reported_and_the_others_still_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, options: object, folder: object) -> tuple[Report | None, dict[str, object]]:
        if name == "stream":
            return None, {"error": "ended with code 1", "seconds": 0.1}
        report = Report([Result("pages", "", [1.0])])
        return report, to_json(report)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(runner, "database_version", lambda: {"postgresql": "18.6", "timescaledb": None})
    written = tmp_path / "all.json"
    assert runner.main(["stream", "history", "--json", str(written)]) == 1
    said = capsys.readouterr()
    assert "stream: ended with code 1" in said.err
    assert said.err.endswith("crashed: stream\n")
    assert "history: pages" in said.out
    whole = json.loads(written.read_text())
    assert whole["machine"]["database"]["postgresql"] == "18.6"
    found = whole["benchmarks"]
    assert found["stream"]["error"] == "ended with code 1"
    assert found["history"]["results"][0]["ours"] == [1.0]


def test_one_that_cannot_be_run_is_a_crash_and_not_an_error_of_the_runner(tmp_path: Path) -> None:
    report, plain = runner.run("no_such_benchmark", [], tmp_path)
    assert report is None
    assert plain["error"] == "ended with code 1"

"""`python -m exchange_simulator`: flags, the line it prints, and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import orjson
import pytest

from exchange_simulator import SimulatorConfig
from exchange_simulator.cli import parse_args
from exchange_simulator.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def start(*flags: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("shared", "exchange-simulator"))
    command = [sys.executable, "-m", "exchange_simulator", "--stream-port", "0", "--http-port", "0", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path})


def test_it_starts_says_where_serves_and_stops_on_sigterm() -> None:
    with start("--seed", "3", "--symbols", "btcusdt,SOLUSDT", "--history-days", "2") as program:
        assert program.stdout is not None
        line = orjson.loads(program.stdout.readline())
        assert line["event"] == "simulator_started"
        assert line["symbols"] == ["BTCUSDT", "SOLUSDT"]
        with urllib.request.urlopen(f"http://127.0.0.1:{line['http_port']}/api/v3/time") as answer:
            assert answer.headers["X-Exchange-Simulator"] == "1"
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0
        assert orjson.loads(program.stdout.readlines()[-1])["event"] == "simulator_stopped"


def test_a_missing_recording_is_one_plain_line(tmp_path: Path) -> None:
    with start("--replay", str(tmp_path)) as program:
        assert program.stdout is not None
        line = orjson.loads(program.stdout.readline())
        assert line["event"] == "simulator_failed"
        assert "no SYMBOL-1m" in line["error"]
        assert program.wait(5) == 1


def test_flags_become_settings(tmp_path: Path) -> None:
    config = parse_args(
        ["--seed", "4", "--speed", "max", "--start", "2026-10-02T00:00:00Z", "--symbols", "a,b"]
    )
    assert (config.seed, config.speed, config.start_ms) == (4, None, 1_790_899_200_000)
    assert config.symbols == ("A", "B")
    config = parse_args(["--replay", str(tmp_path), "--speed", "60", "--start", "now"])
    assert (config.replay, config.speed, config.start_ms) == ((tmp_path,), 60.0, None)
    for wrong in (["--speed", "1"], ["--seed", "1", "--replay", "x"], ["--seed", "1", "--start", "soon"]):
        with pytest.raises(SystemExit):
            parse_args(wrong)


def test_contradictions_are_all_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        SimulatorConfig(seed=1, replay=(Path("x"),), speed=-1.0, symbols=("btcusdt",), history_days=0)
    for part in ("exactly one", "speed", "upper case", "history_days"):
        assert part in str(caught.value)

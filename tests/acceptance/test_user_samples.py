"""The first things users do: their own sample against a running minute, and the README's version of it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import READER_PASSWORD
from tests.processes import Ports, Program, answer, until

from marketdata.settings import DatabaseSettings

REPOSITORY = Path(__file__).resolve().parents[2]

# As its author wrote it, but for the connection's arguments and the import of pandas it lacked.
ORIGINAL = """
import json
import pandas as pd
import psycopg2
conn = psycopg2.connect({connection})
cur = conn.cursor()
cur.execute(
    "SELECT features_json FROM feature_cache WHERE time = %s",
    (pd.Timestamp.now().floor('1min').tz_localize('UTC'),)
)
features = json.loads(cur.fetchone()[0])
assert len(features) > 20, features
"""

# The day's question verbatim, and docs/sql.md's line for columns that are null throughout.
FRAME = """
import pandas as pd
import psycopg2
conn = psycopg2.connect({connection})
frame = pd.read_sql(
    "SELECT * FROM feature_matrix WHERE symbol='BTCUSDT' AND time > now() - interval '1 day'", conn
)
frame = frame.astype(dict.fromkeys(frame.columns[5:], float))
assert len(frame) > 1000, frame
assert str(frame["time"].dtype).endswith(", UTC]"), frame.dtypes
assert len(frame.columns) > 25 and set(map(str, frame.dtypes[5:])) == {"float64"}, frame.dtypes
assert frame["return_1m"].notna().sum() > 1000, frame
"""


def readme_sample() -> str:
    """Return the README's Python block, with placeholders for what a user fills in."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    connect = re.search(r"psycopg2\.connect\((.*)\)", block)
    assert connect is not None
    return block.replace(connect[1], "{connection}") + "\nassert len(features) > 20, features\n"


async def run(source: str, database: DatabaseSettings) -> tuple[int, str]:
    """Run a sample in a process of its own, in UTC."""
    connection = (
        f"host={database.host!r}, port={database.port}, dbname={database.name!r}, user={database.user!r},"
        f" password={database.password!r}"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source.replace("{connection}", connection),
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.acceptance
@pytest.mark.timeout(240)
async def test_samples_work_at_any_second_of_a_running_minute_past_its_first_two(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    ports = Ports.free()
    environment = {
        **ports.environment(database),
        "HISTORY_DAYS": "1",
        "BINANCE_STREAM_URL": f"ws://127.0.0.1:{ports.stream}/ws",
    }
    simulator = ports.simulator(
        tmp_path / "simulator.log", "--seed", "7", "--symbols", "BTCUSDT", "--history-days", "2"
    )
    feeder = Program(tmp_path / "feeder.log", "data_feeder", environment=environment)
    handler = Program(tmp_path / "handler.log", "gap_handler", environment=environment)
    programs = (simulator, feeder, handler)
    reader = replace(database, user="mlreader", password=READER_PASSWORD)

    async def whole() -> bool:
        fed = await answer(f"http://127.0.0.1:{ports.feeder}/health")
        repaired = await answer(f"http://127.0.0.1:{ports.handler}/health")
        return (
            fed.get("status") == "healthy"
            and repaired.get("minutes_missing") == 0
            and bool(fed.get("last_feature_time"))
        )

    try:
        for program in programs:
            program.start()
        await until(whole, seconds=60, what="the history is there", programs=programs)
        code, output = await run(FRAME, reader)
        assert code == 0, output
        # From here on each row is there on time: two turns of the minute, tried at every few seconds.
        end, tried = time.time() + 75, 0
        while time.time() < end:
            second = time.time() % 60
            if not 2.0 <= second <= 57.0:  # a sample takes a second or two to start
                await asyncio.sleep(0.25)
                continue
            outcomes = await asyncio.gather(run(ORIGINAL, database), run(readme_sample(), reader))
            for code, output in outcomes:
                assert code == 0, f"at second {second:.1f}:\n{output}\n{feeder.output()[-2000:]}"
            tried += 1
        assert tried >= 15
    finally:
        for program in programs:
            if program.running:
                program.stop()

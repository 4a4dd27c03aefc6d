"""Training's packages stay where they belong: no service needs one."""

import os
import subprocess
import sys

from tests.export.stored import PATHS

RESEARCH = ("pyarrow", "pandas", "polars", "tqdm", "dask", "distributed")

# As where they are not installed. TA-Lib takes pandas and polars where it finds them, so it is not asked.
PROGRAM = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({RESEARCH!r}))
import data_feeder, gap_handler, marketdata
count = 0
for package in (marketdata, data_feeder, gap_handler):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        parts = module.name.split(".")
        if parts[-1] == "__main__" or parts[:2] in (["marketdata", "export"], ["marketdata", "client"]):
            continue
        importlib.import_module(module.name)
        count += 1
import marketdata.export, marketdata.export.cli
print(count)
"""

MISSING = """
import sys
sys.modules[{name!r}] = None
from marketdata.export.cli import main
sys.exit(main({arguments!r}))
"""

ARGUMENTS = ["--symbols", "B", "--from", "2026-01-01", "--to", "2026-01-02", "--output", "/tmp/never-made"]


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_service_nor_a_split_needs_what_only_exports_do() -> None:
    done = python(PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 50


def test_a_missing_package_is_named_with_how_to_install_it() -> None:
    for name, more in (("pyarrow", []), ("distributed", ["--dask", "tcp://127.0.0.1:1"])):
        done = python(MISSING.format(name=name, arguments=[*ARGUMENTS, *more]))
        assert done.returncode == 1, done.stderr
        assert done.stderr == (
            f"marketdata-export: {name} is not installed, and exports need it:"
            " pip install --require-hashes -r requirements-research.lock\n"
        )

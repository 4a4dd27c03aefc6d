"""The database that is measured on: what it is called, and that its package is quiet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.server import described
from tests.processes import REPOSITORY

from marketdata.database import Connection

IMPORT = """
import warnings
warnings.simplefilter("error")
from tests.processes import name_runtime_folder
name_runtime_folder()
import platformdirs
print(platformdirs.user_runtime_path("python_PostgresServer"))
"""


@pytest.mark.database
async def test_a_server_is_its_kind_and_its_release(connection: Connection) -> None:
    kind, release = (await described(connection)).split(", PostgreSQL ")
    assert kind in ("plain", "apache", "community")
    assert release[0].isdigit()


@pytest.mark.parametrize("mode", [None, 0o700, 0o755])
def test_a_process_without_a_login_has_a_runtime_folder_and_no_warning(
    mode: int | None, tmp_path: Path
) -> None:
    folder = tmp_path / f"runtime-{os.geteuid()}"
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "shared")])
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env={"TMPDIR": str(tmp_path), "PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{folder / 'python_PostgresServer'}\n", "")

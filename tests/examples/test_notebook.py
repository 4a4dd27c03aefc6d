"""The notebook trains on an export, from the first cell to the last, and says the same each time."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from tests.examples.conftest import REPOSITORY, Feeder
from tests.features.samples import START

from marketdata.features.registry import NAMES
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS

NOTEBOOK = REPOSITORY / "examples" / "train_on_export.ipynb"


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [c for c in notebook.cells if c.get("outputs") or c.get("execution_count")] == []


def run(file: Path, folder: Path) -> list[Any]:
    """Return the outputs of every code cell."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=110, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.timeout(240)
async def test_it_trains_on_what_was_exported(
    feeder: Feeder, environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("marketdata.export") is None:
        pytest.skip("there is no marketdata.export to make its file")
    await feeder.store(3900)
    file = tmp_path / "BTCUSDT.parquet"
    exported = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketdata.export", "--symbols", "BTCUSDT", "--from", isoformat(START),
        "--to", isoformat(START + feeder.stored * MINUTE_MS), "--labels", "return:15", "--output", str(file),
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await exported.communicate()
    assert exported.returncode == 0, said.decode()

    for name, text in {**environment, "EXPORT_FILE": str(file)}.items():
        monkeypatch.setenv(name, text)
    outputs = await asyncio.to_thread(run, file, tmp_path)
    used = re.match(r"(\d+) rows, (\d+) features", outputs[0]["text"])
    assert used is not None, outputs[0]
    assert int(used[1]) > 1000
    assert 20 < int(used[2]) <= len(NAMES) - 2, "the book's are null throughout and left out"
    table, plots = outputs[1]["data"]["text/plain"], outputs[-1]["data"]
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["0", "1", "2", "3"], table
    assert "nan" not in table.lower()
    assert len(plots["image/png"]) > 10_000
    again = await asyncio.to_thread(run, file, tmp_path)
    assert (outputs[0]["text"], table) == (again[0]["text"], again[1]["data"]["text/plain"])

"""The library's export on a test's own database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.export.stored import environment, read

from marketdata.export import export
from marketdata.settings import DatabaseSettings

Exported = Callable[..., Any]


@pytest.fixture
def exported(database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """Export as the models' role and return the table that was written."""
    for name, value in environment(database).items():
        monkeypatch.setenv(name, value)
    written: list[Path] = []

    def run(**arguments: Any) -> Any:
        path = tmp_path / f"{len(written)}.{arguments.get('format', 'parquet')}"
        written.append(path)
        return read(export(path, **{"symbols": ["BTCUSDT"], **arguments}).path)

    return run

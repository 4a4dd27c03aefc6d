"""The client's SQL, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from marketdata.sqlfiles import SqlFiles

QUERIES: Final = SqlFiles(Path(__file__).parent / "sql")

"""The service's own SQL, by name. Candles and the ledger's verbs are the store's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from marketdata.sqlfiles import SqlFiles

QUERIES: Final = SqlFiles(Path(__file__).parent / "sql")

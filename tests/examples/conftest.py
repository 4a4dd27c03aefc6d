"""A database of seeded BTCUSDT minutes, and how an example is run on it as its user would."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import READER_PASSWORD
from tests.features.samples import START, rows
from tests.processes import database_environment

from marketdata.database import Connection
from marketdata.features.engine import compute
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, features, symbols

REPOSITORY = Path(__file__).resolve().parents[2]
SYMBOL = "BTCUSDT"


class Feeder:
    """Seeded minutes, committed one after another with their feature rows, as the data-feeder does."""

    def __init__(self, connection: Connection, minutes: int) -> None:
        self._connection = connection
        self._rows = rows(minutes)
        self.stored = 0

    async def store(self, minutes: int) -> None:
        """Commit the candles of the next minutes."""
        part = self._rows[self.stored : self.stored + minutes]
        assert len(part) == minutes, "no seeded minutes are left"
        found = [
            Candle(SYMBOL, int(t), o, h, lo, c, v, q, int(n), b, bq)
            for t, o, h, lo, c, v, q, n, b, bq in part.tolist()
        ]
        known = int(part[-1, 0]) + MINUTE_MS + 40
        await candles.write(
            self._connection, [candles.Row(c, known) for c in found], source=Source.ARCHIVE, head=True
        )
        self.stored += minutes

    async def minute(self) -> None:
        """Commit the next minute, its feature row, and word of it."""
        await self.store(1)
        end = START + self.stored * MINUTE_MS
        window = await features.load_window(self._connection, SYMBOL, end - 60 * MINUTE_MS, end)
        async with self._connection.transaction():
            await features.insert(self._connection, [(SYMBOL, compute(window, last=1))], known_at=end + 40)
            payload = json.dumps({"symbol": SYMBOL, "time": isoformat(end)})
            await self._connection.execute("SELECT pg_notify('features', $1)", payload)


@pytest.fixture
async def feeder(connection: Connection) -> Feeder:
    """The database has an hour of BTCUSDT, and more to come."""
    await connection.execute("SELECT advance_market_clock($1)", START)
    await symbols.register(connection, {SYMBOL: "TRADING"}, now_ms=START, history_days=1)
    found = Feeder(connection, 4000)
    await found.store(60)
    return found


@pytest.fixture
def environment(database: DatabaseSettings) -> Mapping[str, str]:
    """What a user of the models' role has in the environment."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        **database_environment(replace(database, user="mlreader", password=READER_PASSWORD)),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin")),
        "PYTHONPATH": str(REPOSITORY / "shared"),
    }

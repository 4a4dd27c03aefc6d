"""A database with days of candles, put there by COPY, and what was exported from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from tests.conftest import READER_PASSWORD
from tests.features.samples import START, rows

from marketdata.database import Connection
from marketdata.features.columns import Floats
from marketdata.features.engine import compute
from marketdata.features.registry import MAX_WINDOW
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import features, symbols

COLUMNS = (
    "symbol", "time", "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume", "source", "known_at",
)  # fmt: skip
DELAY_MS = 800
"""How long after its end a streamed candle is known here."""


PATHS = os.pathsep.join(filter(None, sys.path))
"""Where the packages are, for programs that a test starts."""


def at(minute: int) -> int:
    """The instant so many minutes after START."""
    return START + minute * MINUTE_MS


def text(minute: int) -> str:
    """The same as an argument."""
    return isoformat(at(minute))


async def begin(connection: Connection, names: list[str], minutes: int) -> None:
    """Register symbols whose history begins at START, at a market time ``minutes`` later."""
    now = at(minutes) + 30_000
    await connection.execute("SELECT advance_market_clock($1)", now)
    days = -(-minutes // 1440)
    await symbols.register(
        connection, dict.fromkeys(names, "TRADING"), now_ms=at(days * 1440), history_days=days
    )


async def put(
    connection: Connection,
    symbol: str,
    table: Floats,
    *,
    known_at: Mapping[int, int] | int | None = None,
    source: str = "stream",
) -> None:
    """COPY rows of CANDLE_ROW in; known DELAY_MS after their end, or at ``known_at`` (by minute, or all)."""

    def known(time: int) -> int:
        if isinstance(known_at, int):
            return known_at
        return (known_at or {}).get((time - START) // MINUTE_MS, time + MINUTE_MS + DELAY_MS)

    records = [
        (symbol, int(row[0]), *row[1:7].tolist(), int(row[7]), *row[8:].tolist(), source, known(int(row[0])))
        for row in table
    ]
    await connection.copy_records_to_table("candles_1m", records=records, columns=COLUMNS)


async def cache(connection: Connection, symbol: str, start: int, end: int, *, known_at: int) -> int:
    """Fill the feature cache for the rows ``[start, end)`` as the feeder does, at ``known_at``."""
    window = await features.load_window(
        connection, symbol, at(start) - (MAX_WINDOW + 1) * MINUTE_MS, at(end) - MINUTE_MS
    )
    written = await features.replace(connection, symbol, compute(window, end - start), known_at=known_at)
    # The market's clock is past all candles here, and no row is known before what the clock says.
    await connection.execute(
        "UPDATE feature_values SET known_at = to_timestamp($4::bigint / 1000.0)"
        " WHERE symbol = $1 AND time >= $2 AND time < $3",
        symbol, at(start), at(end), known_at,
    )  # fmt: skip
    return written


def seeded(minutes: int, seed: int = 1) -> Floats:
    """Seeded rows of CANDLE_ROW from START on."""
    return rows(minutes, seed)


def environment(settings: DatabaseSettings, *, reader: bool = True) -> dict[str, str]:
    """The DB_* variables of the models' role, or the owner's."""
    return {
        "DB_HOST": settings.host,
        "DB_PORT": str(settings.port),
        "DB_NAME": settings.name,
        "DB_USER": "mlreader" if reader else settings.user,
        "DB_PASSWORD": READER_PASSWORD if reader else settings.password,
        "DB_SSLMODE": settings.sslmode,
    }


def run(settings: DatabaseSettings, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python as the models' role."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": PATHS, **environment(settings), **more},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def command(
    settings: DatabaseSettings, *arguments: str, code: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as the models' role, and check its exit code."""
    done = run(settings, "-m", "marketdata.export", *arguments, **more)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def read(path: Path) -> Any:
    """The file as a pyarrow table, whatever its format."""
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path)
    if path.suffix == ".arrow":
        with pyarrow.ipc.open_file(path) as file:
            return file.read_all()
    return pyarrow.csv.read_csv(path)


def manifest(path: Path) -> Any:
    """What stands beside the file."""
    return json.loads(path.with_name(path.name + ".manifest.json").read_text(encoding="utf-8"))


def numbers(table: Any, name: str) -> Floats:
    """A column as numbers, NaN for null."""
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)


def minutes_of(table: Any) -> list[int]:
    """Each row's time, in minutes after START."""
    return [
        int((value - START) // MINUTE_MS) for value in table.column("time").cast(pyarrow.int64()).to_pylist()
    ]


def files(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(os.listdir(folder))


def content(path: Path) -> bytes:
    """The file's bytes."""
    return path.read_bytes()

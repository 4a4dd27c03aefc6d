"""The programs that are compared live: how each is started, where it stores, and how its rows are read."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.market import Row
from marketdata.database import Connection

_FOLDER: Final = Path(__file__).resolve().parent
_REPOSITORY: Final = _FOLDER.parents[1]
_VERSION: Final = (
    "import platform, sys; from importlib.metadata import version;"
    " print(version(sys.argv[1]), 'on Python', platform.python_version())"
)
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Program:
    """One that stores candles: in ``table``, made by ``ddl``, whose ``columns`` are a ``Row``'s."""

    name: str
    script: str
    table: str
    ddl: str
    columns: tuple[str, ...]
    environment: str = ""
    """The environment of its own that it needs; ours where empty."""

    @property
    def python(self) -> Path:
        """The Python it runs on."""
        return peer_python(self.environment) if self.environment else Path(sys.executable)

    async def stored(self, connection: Connection) -> list[Row]:
        """Return every row of its table."""
        records = await connection.fetch(f"SELECT {', '.join(self.columns)} FROM {self.table}")
        return [Row(*record) for record in records]

    async def has(self, connection: Connection, row: Row) -> bool:
        """Return whether it has committed this candle."""
        symbol, time = self.columns[:2]
        query = f"SELECT 1 FROM {self.table} WHERE {symbol} = $1 AND {time} = $2"
        return await connection.fetchval(query, row.symbol, row.time) is not None

    @asynccontextmanager
    async def running(self, settings: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it with these settings, and kill it afterwards: what is measured is measured by then."""
        process = await asyncio.create_subprocess_exec(
            str(self.python), str(_FOLDER / self.script),
            env={name: os.environ[name] for name in _KEPT if name in os.environ}
            | {"PYTHONPATH": _python_path(self.environment)} | dict(settings),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def package_version(python: Path, package: str) -> str:
    """Return which release of a package another Python would import, and that Python's own version."""
    said = subprocess.run(
        [str(python), "-c", _VERSION, package], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    return said.strip()


def peer_python(environment: str) -> Path:
    """Return the Python of a peer's own environment, whether or not it is there."""
    return _REPOSITORY / ".venv-benchmarks" / environment / "bin" / "python"


def _python_path(environment: str) -> str:
    return "" if environment else os.pathsep.join([str(_REPOSITORY), *sys.path[1:]])


OURS: Final = Program(
    "ours",
    "run_ours.py",
    "candles_1m",
    "",
    ("symbol", "time", "open", "high", "low", "close", "volume"),
)
CRYPTOFEED: Final = Program(
    "cryptofeed",
    "run_cryptofeed.py",
    "peer_cryptofeed",
    # The columns of its own table of candles, in its order; numbers and key as ours have them.
    """
    CREATE TABLE peer_cryptofeed (
        id bigserial, timestamp timestamptz, receipt_timestamp timestamptz, exchange text, symbol text,
        candle_start timestamptz, candle_stop timestamptz, interval text, trades integer,
        open double precision, close double precision,
        high double precision, low double precision, volume double precision,
        closed boolean, PRIMARY KEY (symbol, candle_start)
    )
    """,
    ("symbol", "candle_start", "open", "high", "low", "close", "volume"),
    "cryptofeed",
)
PYTHON_BINANCE: Final = Program(
    "python-binance",
    "run_python_binance.py",
    "peer_python_binance",
    """
    CREATE TABLE peer_python_binance (
        symbol text, time timestamptz, open double precision, high double precision, low double precision,
        close double precision, volume double precision, trades integer, PRIMARY KEY (symbol, time)
    )
    """,
    ("symbol", "time", "open", "high", "low", "close", "volume"),
)
PEERS: Final = (CRYPTOFEED, PYTHON_BINANCE)

"""Months of one-minute candles by REST: ``ccxt``'s pages and ``freqtrade``'s download beside the gap-handler.

From the simulator under the exchange's weight limit. Everybody's time runs from the first page asked for,
which a relay in front of the simulator sees, to the last row stored: committed by ours and by the script for
``ccxt``; in ``freqtrade``'s own files, as it has no database, when it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pandas as pd
from tests.processes import Program, answer, database_environment, free_port, until

from benchmarks.harness import Options, Report, Result
from benchmarks.peers.judge import Verdict, judge
from benchmarks.peers.market import MINUTE_MS, Row
from benchmarks.peers.programs import package_version, peer_python
from gap_handler.server import listen
from gap_handler.service import running
from marketdata.database import Connection
from marketdata.minutes import isoformat
from marketdata.settings import DatabaseSettings, load
from marketdata.store.ledger import record_missing

ROUNDS: Final = 5
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
NOW: Final = 1_772_539_230_000
"""2026-03-03T12:00:30Z."""
END: Final = NOW - 30_000
DAYS: Final = 20
_DAY_MS: Final = 86_400_000
_PYTHONS: Final = {"ccxt": Path(sys.executable), "freqtrade": peer_python("freqtrade")}
_OPEN: Final = "SELECT count(*) FROM data_quality_logs WHERE NOT resolved"
_PAGE: Final = b"/api/v3/klines"
_TABLE: Final = """
CREATE TABLE peer_ccxt (
    symbol text, time timestamptz, open double precision, high double precision, low double precision,
    close double precision, volume double precision, PRIMARY KEY (symbol, time)
)
"""


class Relay:
    """Passes bytes on to the simulator; ``first`` is when the first page was asked for, monotonic seconds."""

    def __init__(self, port: int) -> None:
        self._first: float | None = None
        self._port = port

    def forget(self) -> None:
        """Wait for a first page again."""
        self._first = None

    @property
    def first(self) -> float:
        """When the first page was asked for. Raises RuntimeError where none was."""
        if self._first is None:
            raise RuntimeError("no page was asked for")
        return self._first

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pass(reader, far_writer, asked=True), self._pass(far_reader, writer))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asked: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if asked and self._first is None and _PAGE in data:
                    self._first = time.monotonic()
                writer.write(data)
                await writer.drain()
        writer.close()


class Bench:
    """One database, one simulator behind a relay, and a stretch of history."""

    def __init__(
        self,
        connection: Connection,
        settings: DatabaseSettings,
        relay: Relay,
        url: str,
        days: int,
        folder: Path,
    ) -> None:
        self.first = END - days * _DAY_MS
        self._connection = connection
        self._settings = settings
        self._relay = relay
        self._url = url
        self._folder = folder

    async def timed(self, fill: Callable[[], Awaitable[None]]) -> float:
        """Return the seconds from the first page asked for to the end of ``fill``."""
        await self._connection.execute(
            "TRUNCATE candles_1m, data_quality_logs, symbols, market_clock, peer_ccxt CASCADE"
        )
        self._relay.forget()
        await fill()
        return time.monotonic() - self._relay.first

    async def ours(self) -> None:
        """Have a whole gap-handler fill the gaps of a first start."""
        await self._connection.execute("SELECT advance_market_clock($1)", NOW)
        for symbol in SYMBOLS:
            await self._connection.execute(
                "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)",
                symbol,
                self.first,
            )
            await record_missing(self._connection, symbol, self.first, END, "start")
        settings = load(
            {
                **database_environment(self._settings),
                "SYMBOLS": ",".join(SYMBOLS),
                "BINANCE_API_URL": self._url,
                "BINANCE_ARCHIVE_URL": "off",
            }
        )
        async with running(settings, "", listen("127.0.0.1", 0)):
            while await self._connection.fetchval(_OPEN):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def ccxt(self) -> None:
        """Run the script for ``ccxt``."""
        await self._run(
            sys.executable,
            str(Path(__file__).with_name("run_ccxt.py")),
            **database_environment(self._settings),
            SYMBOLS=",".join(SYMBOLS),
            API_URL=self._url,
            FROM_MS=str(self.first),
            TO_MS=str(END),
        )

    async def freqtrade(self) -> None:
        """Run ``freqtrade download-data`` for these symbols and this stretch."""
        api = f"{self._url}/api/v3"
        ccxt = {
            "urls": {"api": {"public": api, "private": api}},
            "options": {"fetchMarkets": {"types": ["spot"]}},
        }
        exchange = {
            "name": "binance",
            # Else it asks Binance's archives, at an address that cannot be set.
            "only_from_ccxt": True,
            "pair_whitelist": [_pair(symbol) for symbol in SYMBOLS],
            "ccxt_config": ccxt,
        }
        config = self._folder / "config.json"
        config.write_text(json.dumps({"exchange": exchange, "stake_currency": "USDT", "dry_run": True}))
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        for old in data.iterdir():
            old.unlink()
        spans = "-".join(isoformat(at)[:16].replace("-", "").replace(":", "") for at in (self.first, END))
        await self._run(
            str(peer_python("freqtrade")), "-m", "freqtrade", "download-data", "--config", str(config),
            "--userdir", str(self._folder), "--datadir", str(data), "--timeframes", "1m",
            "--timerange", spans,
        )  # fmt: skip

    async def _run(self, *command: str, **settings: str) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *command, env=kept | settings, cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{command[1:4]} ended with {process.returncode}: {said.decode()[-2000:]}")

    async def stored_by_ours(self) -> list[Row]:
        """Return the candles of our table."""
        return await self._rows("candles_1m")

    async def stored_by_ccxt(self) -> list[Row]:
        """Return the rows of the script's table."""
        return await self._rows("peer_ccxt")

    async def stored_by_freqtrade(self) -> list[Row]:
        """Return the rows of its files; it asks for whole pages, and keeps what lies beyond the end."""
        rows = []
        for symbol in SYMBOLS:
            table = pd.read_feather(self._folder / "data" / f"{_pair(symbol).replace('/', '_')}-1m.feather")
            opens = (table["date"] - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)
            numbers = table[["open", "high", "low", "close", "volume"]].itertuples(index=False, name=None)
            rows += [
                Row(symbol, int(opened), *some)
                for opened, some in zip(opens, numbers, strict=True)
                if self.first <= opened < END
            ]
        return rows

    async def _rows(self, table: str) -> list[Row]:
        found = await self._connection.fetch(
            f"SELECT symbol, time, open, high, low, close, volume FROM {table}"
        )
        return [Row(*record) for record in found]

    async def truth(self) -> list[Row]:
        """Return what the exchange's REST says of the stretch."""
        rows: list[Row] = []
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            for symbol in SYMBOLS:
                for start in range(self.first, END, 1000 * MINUTE_MS):
                    end = min(start + 1000 * MINUTE_MS, END) - 1
                    asked = {
                        "symbol": symbol,
                        "interval": "1m",
                        "startTime": start,
                        "endTime": end,
                        "limit": 1000,
                    }
                    page = await client.get(f"{self._url}{_PAGE.decode()}", params=asked)
                    page.raise_for_status()
                    rows += [Row(symbol, r[0], *map(float, r[1:6])) for r in page.json()]
        return rows


def _pair(symbol: str) -> str:
    return f"{symbol.removesuffix('USDT')}/USDT"


@asynccontextmanager
async def _exchange(folder: Path, days: int) -> AsyncIterator[tuple[Relay, str]]:
    port = free_port()
    program = Program(
        folder / "simulator.log", "exchange_simulator", "--seed", "7", "--symbols", ",".join(SYMBOLS),
        "--history-days", str(days + 2), "--start", isoformat(NOW), "--http-port", str(port),
        "--stream-port", "0",
    )  # fmt: skip
    program.start()

    async def listening() -> bool:
        return bool(await answer(f"http://127.0.0.1:{port}/api/v3/time"))

    relay = Relay(port)
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        await until(listening, seconds=120, what="the simulator answers", programs=(program,))
        yield relay, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        program.stop()


async def measure(connection: Connection, settings: DatabaseSettings, options: Options) -> Report:
    """Measure ours and each peer in turns; return rows a second, and what each stored."""
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    days = 1 if options.quick else DAYS
    await connection.execute(_TABLE)
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        async with _exchange(Path(name), days) as (relay, url):
            bench = Bench(connection, settings, relay, url, days, Path(name))
            sent = await bench.truth()
            ways = {"ours": (bench.ours, bench.stored_by_ours), "ccxt": (bench.ccxt, bench.stored_by_ccxt)}
            absent = [] if peer_python("freqtrade").exists() else ["freqtrade"]
            if not absent:
                ways["freqtrade"] = (bench.freqtrade, bench.stored_by_freqtrade)
            rates: dict[str, list[float]] = {way: [] for way in ways}
            stored: dict[str, list[Verdict]] = {way: [] for way in ways}
            for number in range(rounds):
                for way, (fill, read) in ways.items():
                    rates[way].append(len(sent) / await bench.timed(fill))
                    stored[way].append(judge(sent, await read()))
                    print(
                        f"peers: history {number + 1} of {rounds}: {way}: {rates[way][-1]:,.0f} rows/s,"
                        f" {stored[way][-1]}",
                        file=sys.stderr,
                    )
    results = [
        Result("history by REST", "rows/s", rates["ours"], rates[way], way) for way in ways if way != "ours"
    ]
    facts = {
        "rows": len(sent),
        "stored": {way: [str(one) for one in verdicts] for way, verdicts in stored.items()},
        "absent": absent,
        "versions": {way: package_version(_PYTHONS[way], way) for way in ways if way != "ours"},
    }
    return Report(results, facts=facts)

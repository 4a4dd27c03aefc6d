"""Frames to committed rows, ours and the peers': how many a second, and how long one takes."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import psutil
from tests.processes import database_environment

from benchmarks.harness import Options, Report, Result, Target
from benchmarks.peers.exchange import make_certificate, serving
from benchmarks.peers.judge import Verdict, judge
from benchmarks.peers.market import Market, Row
from benchmarks.peers.programs import CRYPTOFEED, OURS, PEERS, Program, package_version
from marketdata.database import Connection
from marketdata.settings import DatabaseSettings

ROUNDS: Final = 5
LOOK_SECONDS: Final = 0.01
MOST_SECONDS: Final = 180.0
QUIET_SECONDS: Final = 2.0
"""Without a new row for so long, a program is taken to be done."""
PACE: Final = 100.0
"""Candles a second for the latencies: what every program here keeps up with."""
MINUTES_A_SECOND: Final = 8.0
"""How fast a stream with trouble in it is sent: slow enough to have stored a minute before the next."""
FASTER: Final = 20.0
"""How many times the rate of ``cryptofeed`` ours is to have."""
_TOLD: Final = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_notify('stored', to_jsonb(NEW)->>TG_ARGV[0] || ' ' || (extract(epoch FROM
(to_jsonb(NEW)->>TG_ARGV[1])::timestamptz) * 1000)::bigint); RETURN NULL; END $$
"""


class Flood(NamedTuple):
    """What a program made of a market sent as fast as it is taken.

    ``rate``: rows a second, first frame sent to last row committed; ``cpu``: microseconds of processor time a
    candle, of its own process alone.
    """

    rate: float
    cpu: float
    verdict: Verdict


class Bench:
    """One database, one certificate, and the programs that can be run here."""

    def __init__(self, connection: Connection, settings: DatabaseSettings, certificate: Path) -> None:
        self.connection = connection
        self.certificate = certificate
        self.peers = [peer for peer in PEERS if peer.python.exists()]
        self.absent = [peer.name for peer in PEERS if peer not in self.peers]
        self._environment = {**database_environment(settings), "SSL_CERT_FILE": str(certificate)}

    @property
    def versions(self) -> dict[str, str]:
        """The peers' releases."""
        return {peer.name: package_version(peer.python, peer.name) for peer in self.peers}

    @property
    def programs(self) -> list[Program]:
        """Ours first, then the peers."""
        return [OURS, *self.peers]

    async def prepare(self) -> None:
        """Make the peers' tables and the function that tells of a row."""
        await self.connection.execute(_TOLD)
        for peer in self.peers:
            await self.connection.execute(peer.ddl)

    async def empty(self) -> None:
        """Leave nothing of the run before."""
        tables = ", ".join(program.table for program in self.programs)
        await self.connection.execute(f"TRUNCATE {tables}, data_quality_logs, market_clock")

    def environment(self, market: Market, stream: str, api: str) -> dict[str, str]:
        """Return what every program is told."""
        return self._environment | {
            "SYMBOLS": ",".join(market.names),
            "STREAM_URL": stream,
            "API_URL": api,
            "BINANCE_STREAM_URL": stream,
            "BINANCE_API_URL": api,
        }

    async def rate(self, program: Program, market: Market) -> Flood:
        """Send a market as fast as it is taken; return what became of it."""
        await self.empty()
        rows = market.rows()
        async with (
            serving(market, self.certificate) as exchange,
            program.running(self.environment(market, exchange.stream, exchange.api)) as process,
        ):
            started = await self._first(process, exchange.started())
            used = _cpu(process)
            while not await program.has(self.connection, _named(program, rows[-1])):
                if time.monotonic() > started + MOST_SECONDS or process.returncode is not None:
                    break
                await asyncio.sleep(LOOK_SECONDS)
            seconds, used = time.monotonic() - started, _cpu(process) - used
        stored = await program.stored(self.connection)
        return Flood(len(stored) / seconds, 1e6 * used / len(rows), judge(rows, stored))

    async def latencies(self, program: Program, market: Market) -> list[float]:
        """Return the seconds from each frame sent to the word that its row is committed, sorted."""
        await self.empty()
        heard: dict[tuple[str, int], float] = {}
        everything = asyncio.Event()

        def listen(*told: object) -> None:
            symbol, open_ms = str(told[-1]).split()
            heard[symbol.replace("-", ""), int(open_ms)] = time.monotonic()
            if len(heard) == market.candles:
                everything.set()

        rows = market.rows()
        symbol, opened = program.columns[:2]
        await self.connection.execute(
            f"CREATE OR REPLACE TRIGGER tell AFTER INSERT ON {program.table} FOR EACH ROW"
            f" EXECUTE FUNCTION tell('{symbol}', '{opened}')"
        )
        await self.connection.add_listener("stored", listen)
        try:
            async with (
                serving(market, self.certificate) as exchange,
                program.running(self.environment(market, exchange.stream, exchange.api)) as process,
            ):
                await self._first(process, exchange.started())
                sent = await exchange.sent()
                async with asyncio.timeout(MOST_SECONDS):
                    await everything.wait()
        finally:
            await self.connection.remove_listener("stored", listen)
            await self.connection.execute(f"DROP TRIGGER tell ON {program.table}")
        return sorted(heard[r.symbol, r.time] - at for r, at in zip(rows, sent, strict=True))

    async def truth(self, program: Program, market: Market) -> str:
        """Return what is stored of a troubled stream, and how many minutes are known to be missing."""
        await self.empty()
        count, before = 0, -1
        async with (
            serving(market, self.certificate) as exchange,
            program.running(self.environment(market, exchange.stream, exchange.api)) as process,
        ):
            await self._first(process, exchange.started())
            await exchange.sent()
            while count != before:
                await asyncio.sleep(QUIET_SECONDS)
                before, count = count, len(await program.stored(self.connection))
        verdict = judge(market.rows(), await program.stored(self.connection))
        known = await self.connection.fetchval(
            "SELECT coalesce(sum(candles_missing), 0) FROM data_quality_logs WHERE NOT resolved"
        )
        return f"{verdict}, {known} known to be missing"

    @staticmethod
    async def _first(process: asyncio.subprocess.Process, started: object) -> float:
        """Return when the first frame was sent. Raises RuntimeError where the program ends before it."""
        waiting = asyncio.ensure_future(started)  # type: ignore[call-overload]
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({waiting, ended}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise RuntimeError(f"a program did not subscribe, or ended with {process.returncode}")
            return float(waiting.result())
        finally:
            waiting.cancel()
            ended.cancel()


def _cpu(process: asyncio.subprocess.Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def _named(program: Program, row: Row) -> Row:
    """Return a candle under the name that a program stores its symbol by."""
    return row._replace(symbol=row.symbol.replace("USDT", "-USDT")) if program is CRYPTOFEED else row


@asynccontextmanager
async def bench(connection: Connection, settings: DatabaseSettings) -> AsyncIterator[Bench]:
    """Yield a bench on this database, its tables made."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        found = Bench(connection, settings, make_certificate(Path(folder)))
        for name in found.absent:
            print(f"{name} is left out: it is not installed here", file=sys.stderr)
        await found.prepare()
        yield found


async def measure(connection: Connection, settings: DatabaseSettings, options: Options) -> Report:
    """Measure all programs in turns; return rates, latencies and what each stored."""
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    flood = Market(minutes=20 if options.quick else 200)
    paced = Market(symbols=20, minutes=5 if options.quick else 50, rate=PACE)
    async with bench(connection, settings) as found:
        floods: dict[str, list[Flood]] = {program.name: [] for program in found.programs}
        waits: dict[str, list[list[float]]] = {program.name: [] for program in found.programs}
        for number in range(rounds):
            for program in found.programs:
                one = await found.rate(program, flood)
                floods[program.name].append(one)
                waits[program.name].append(await found.latencies(program, paced))
                print(
                    f"peers: round {number + 1} of {rounds}: {program.name}: {one.rate:,.0f}/s,"
                    f" {one.cpu:.0f} us of processor time a candle, {one.verdict};"
                    f" p50 {1000 * _share(waits[program.name][-1], 0.5):.2f} ms",
                    file=sys.stderr,
                )
        troubled = Market(minutes=20 if options.quick else 60, rate=MINUTES_A_SECOND, troubled=True)
        truth = {program.name: await found.truth(program, troubled) for program in found.programs}
        print(f"peers: of a stream with trouble in it: {truth}", file=sys.stderr)
    stored = {name: [str(one.verdict) for one in some] for name, some in floods.items()}
    report = Report(
        facts={
            "candles": flood.candles,
            "stored": stored,
            "troubled": truth,
            "absent": found.absent,
            "versions": found.versions,
        }
    )
    for peer in found.peers:
        target = Target(">=", FASTER) if peer is CRYPTOFEED else None
        mine, theirs = ([one.rate for one in floods[name]] for name in ("ours", peer.name))
        report.results.append(
            Result("frames to committed rows", "candles/s", mine, theirs, peer.name, target)
        )
        mine, theirs = ([one.cpu for one in floods[name]] for name in ("ours", peer.name))
        report.results.append(Result("its process, a candle", "us of CPU", mine, theirs, peer.name))
    for peer in found.peers:
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            mine, theirs = (
                [1000 * _share(one, share) for one in waits[name]] for name in ("ours", peer.name)
            )
            report.results.append(Result(f"frame to committed row, {label}", "ms", mine, theirs, peer.name))
    return report


def _share(values: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values."""
    return median(values) if share == 0.5 else values[int(share * (len(values) - 1))]

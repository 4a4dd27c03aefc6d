"""The feeder put together: what runs beside what, what it says of itself, how it stops."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from data_feeder import connections, startup
from data_feeder.addresses import Failover
from data_feeder.announce import Announcer
from data_feeder.audit import Auditor
from data_feeder.buffer import Buffer, Note
from data_feeder.features import FeatureTask
from data_feeder.ingest import Ingest
from data_feeder.session import Patience
from data_feeder.status import Status, judge
from data_feeder.stream import Stream
from data_feeder.watchdog import Watchdog
from data_feeder.writer import Writer
from marketdata import database, http, lag, metrics
from marketdata.backoff import delays
from marketdata.clock import Clock, MarketClock, SystemClock
from marketdata.errors import ConfigurationError
from marketdata.log import get_logger
from marketdata.migrate.lacking import LACKING
from marketdata.minutes import isoformat
from marketdata.settings import Settings
from marketdata.store import symbols as symbols_store

log = get_logger(__name__)

DRAIN_SECONDS: Final = 5.0
"""How long a stop waits for the candles in hand; what stays behind becomes a gap at the next start."""
CANCEL_AGAIN_SECONDS: Final = 1.0


async def end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: a cancellation that meets asyncpg in the middle of a rollback comes out as that one's
    error, and who waits for the database to come back goes on.
    """
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS)


class Feeder:
    """The running service. ``run`` returns when it is told to stop, and raises what it cannot survive."""

    def __init__(
        self,
        settings: Settings,
        backfill_token: str = "",
        *,
        clock: Clock | None = None,
        patience: Patience | None = None,
        buffer: Buffer | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._patience = patience or Patience(first_data=float(settings.gap_detection_threshold))
        self._market = MarketClock()
        self._status = Status()
        self._buffer = Buffer() if buffer is None else buffer
        metrics.WRITE_BUFFER.set_function(self._buffer.__len__)
        self._announcer = Announcer(settings.gap_handler_url, backfill_token)
        self._features = FeatureTask(
            settings.database, self._market, self._clock, settings.symbols, settings.shard
        )
        self._writer: Writer | None = None
        self._watchdog: Watchdog | None = None
        self._auditor: Auditor | None = None
        self._streams: list[Stream] = []
        self._running: list[asyncio.Task[None]] = []
        self._started = self._clock.monotonic()

    async def health(self, _: Request) -> Response:
        """Answer ``GET /health``."""
        writer, watchdog = self._writer, self._watchdog
        connected = sum(stream.connected for stream in self._streams)
        metrics.WEBSOCKET_CONNECTED.set(connected)
        database_connected = self._status.ready if writer is None else writer.connected
        verdict = judge(
            database_connected=database_connected,
            websocket_connected=bool(self._streams) and connected == len(self._streams),
            nothing_to_do=self._status.nothing_to_do,
            silent=watchdog.silent if watchdog else [],
            exchange_problem=self._status.exchange_problem,
            buffered=len(self._buffer),
            oldest_seconds=self._clock.monotonic() - (self._buffer.oldest or self._clock.monotonic()),
            features_problem=self._features.problem,
            audit_problem=self._auditor.problem if self._auditor else None,
            database_problem=writer.problem if writer else self._status.database_problem,
        )
        last = writer.last_candle_time if writer else None
        row = self._features.newest_row
        body = {
            "status": verdict.status,
            "reasons": verdict.reasons,
            "uptime_seconds": round(self._clock.monotonic() - self._started, 1),
            "candles_processed": writer.candles_processed if writer else 0,
            "feature_rows_written": self._features.rows_written,
            "database_connected": database_connected,
            "websocket_connected": connected > 0,
            "stream_addresses": sorted({s.session.url for s in self._streams if s.session is not None}),
            "last_candle_time": isoformat(last) if last else None,
            "last_feature_time": isoformat(row) if row else None,
            "market_time": isoformat(self._market.now_ms) if self._market.now_ms else None,
            "candles_buffered": len(self._buffer),
            "symbols": len(self._settings.captured),
            "shard": str(self._settings.shard),
            "memory_mb": http.memory_mb(),
            "database_server": self._status.server_kind,
            "database_lacks": LACKING.get(self._status.server_kind, "") or None,
        }
        return http.json_response(body, verdict.http_status)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve, prepare, stream."""
        listener = http.bind(self._settings.bind_address, self._settings.feeder_port, "FEEDER_PORT")
        app = Starlette(routes=[Route("/health", self.health), Route("/metrics", http.metrics)])
        server = http.server(app)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(server.serve(sockets=[listener]), name="http"),
                group.create_task(self._work(group), name="work"),
            ]
            await stop.wait()
            log.info("stopping", buffered=len(self._buffer))
            await self._drain()
            if len(self._buffer):
                oldest = self._buffer.peek(1)[0].candle.time
                log.warning(
                    "candles_left_behind",
                    candles=len(self._buffer),
                    oldest=isoformat(oldest),
                    message="the audit of the next start finds them",
                )
            server.should_exit = True
            await end({*tasks[1:], *self._running})

    async def _prepare(self, *, patient: bool = False) -> startup.Start:
        """Do what a start has to do, as often as the database is lost meanwhile.

        ``patient``: the exchange did not answer at the start; wait until it does.
        """
        settings, waits = self._settings, delays()
        while True:
            try:
                connection = await database.connect(
                    settings.database, "data-feeder-start", command_timeout=database.COMMAND_TIMEOUT
                )
                try:
                    self._status.server_kind = await symbols_store.check_schema(connection)
                    self._status.database_problem = None
                    self._status.ready = True
                    return await startup.prepare(
                        connection, settings, self._status, self._clock, patient=patient
                    )
                finally:
                    connection.terminate()
            except database.OPERATOR as error:
                if not patient:
                    raise ConfigurationError([f"{settings.database!r}: {database.explain(error)}"]) from None
                log.error("database_refuses", reason=database.explain(error))
            except database.TRANSIENT as error:
                self._status.ready = False
                self._status.database_problem = database.explain(error)
                log.warning("start_waiting", reason=database.explain(error))
            await self._clock.sleep(next(waits))

    async def _confirm(self) -> None:
        await self._prepare(patient=True)

    def _disconnected(self, ingest: Ingest, symbols: list[str], url: str, reason: str) -> None:
        ingest.book.forget(symbols)
        self._buffer.add_note(Note("disconnect", None, {"url": url, "reason": reason}))

    def _failed_over(self, number: int, count: int, failover: Failover) -> None:
        self._buffer.add_note(
            Note(
                "failover",
                None,
                {
                    "service": "data_feeder",
                    "stream": f"connection {number} of {count}",
                    "from": failover.left,
                    "to": failover.taken,
                    "reason": failover.reason,
                },
            )
        )

    async def _drain(self) -> None:
        """Stop reading and let the writer finish what it holds, for a moment."""
        for task in self._running:
            if task.get_name().startswith("stream"):
                task.cancel()
        if self._writer is not None and self._writer.connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._buffer.drained()

    def _say_idle(self) -> None:
        """Say that nothing is captured. An exit would be restarted for ever, and hold up a deployment."""
        settings = self._settings
        self._status.nothing_to_do = (
            f"SHARD={settings.shard} has none of the {len(settings.symbols)} SYMBOLS:"
            " take fewer shards, or stop this feeder"
        )
        log.warning("shard_empty", message=self._status.nothing_to_do)

    async def _work(self, group: asyncio.TaskGroup) -> None:
        settings, clock = self._settings, self._clock
        await database.wait_for_database(settings.database)
        start = await self._prepare()
        if not settings.captured:
            self._say_idle()
            # What its shard captured once may still be repaired.
            self._running = [group.create_task(self._features.run(), name="features")]
            return
        if LACKING[self._status.server_kind]:
            log.warning("server_lacks", message=LACKING[self._status.server_kind])
        self._market.advance(start.now)
        ingest = Ingest(start.symbols, start.head, self._buffer, self._market, clock)
        parts = connections.plan(start.symbols)
        self._streams = [
            Stream(
                settings.stream_urls,
                part,
                ingest,
                clock,
                self._patience,
                on_disconnect=partial(self._disconnected, ingest, part),
                on_failover=partial(self._failed_over, number, len(parts)),
            )
            for number, part in enumerate(parts, 1)
        ]
        self._watchdog = Watchdog(
            ingest, self._streams, self._buffer, self._market, clock, settings.gap_detection_threshold
        )
        self._writer = Writer(
            settings.database,
            self._buffer,
            self._market,
            clock,
            symbols=start.symbols,
            head=start.head,
            batch_max_rows=settings.batch_max_rows,
            on_commit=self._features.offer,
            on_gaps=self._announcer.announce,
        )
        auditor = self._auditor = Auditor(settings.database, self._writer, clock, self._announcer.announce)
        self._running = [
            group.create_task(self._writer.run(), name="writer"),
            group.create_task(lag.watch(clock), name="lag"),
            group.create_task(self._features.run(), name="features"),
            group.create_task(self._announcer.run(), name="announcer"),
            group.create_task(self._watchdog.run(), name="watchdog"),
            group.create_task(auditor.run(), name="audit"),
            *(group.create_task(stream.run(), name=f"stream-{n}") for n, stream in enumerate(self._streams)),
        ]
        if not start.confirmed:
            self._running.append(group.create_task(self._confirm(), name="confirm"))

"""The whole service, wired: everything that runs, and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gap_handler import audit, monitor, scheduler, silence, tasks
from gap_handler.api import create_app
from gap_handler.archive.source import Archives
from gap_handler.audit import Audit
from gap_handler.backfill import Backfill
from gap_handler.connections import left_behind
from gap_handler.exchange import Exchange
from gap_handler.failover import ExchangeGuard, FailoverLedger
from gap_handler.health import HealthCheck
from gap_handler.jobs import Jobs
from gap_handler.journal import Journal
from gap_handler.listing import Listings
from gap_handler.nudge import Nudge
from gap_handler.probe import Probe
from gap_handler.server import Server
from gap_handler.silence import Silence
from gap_handler.totals import Totals
from gap_handler.worker import LEASE_SECONDS, Worker
from marketdata import database, lag
from marketdata.clock import MarketClock, SystemClock
from marketdata.log import get_logger
from marketdata.settings import Settings

log = get_logger(__name__)

_STOP_SECONDS: Final = 8.0
# Heartbeats, the probe, the scheduler, the monitor, the audit, silence, rollups and a few requests beside the
# workers.
_SPARE_CONNECTIONS: Final = 11


@asynccontextmanager
async def running(
    settings: Settings, token: str, listening: socket.socket, *, lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[asyncio.Task[None]]:
    """Run the service inside the ``async with``; yields the task of its HTTP server.

    On leaving, no new work is claimed, work under way is given back, and connections are closed.
    """
    asyncio.get_running_loop().set_exception_handler(left_behind)
    clock, market, nudge, totals = SystemClock(), MarketClock(), Nudge(), Totals()
    pool = await database.create_pool(
        settings.database, "gap_handler", settings.max_concurrent_backfills + _SPARE_CONNECTIONS
    )
    exchange = Exchange(
        settings.api_urls,
        market,
        clock,
        on_failover=FailoverLedger(pool),
        guard=ExchangeGuard(pool),
        handlers=settings.gap_handlers,
    )
    archives = Archives(settings.archive_urls, market, clock, ExchangeGuard(pool, "BINANCE_ARCHIVE_URL"))
    probe = Probe(pool)
    unheard = Silence(pool, market, nudge)
    health = HealthCheck(probe, exchange.state, totals, clock, unheard)
    backfill = Backfill(
        pool,
        exchange,
        archives,
        Listings(pool, exchange),
        market,
        confirm_seconds=settings.outage_confirm_seconds,
        lease_seconds=lease_seconds,
    )
    watch = monitor.Monitor(pool, probe, exchange, settings.symbols[0])
    journal = Journal(clock)
    jobs_due, rollups = scheduler.Scheduler(pool), scheduler.Rollups(pool, clock)
    workers = [
        Worker(
            pool,
            backfill,
            exchange.opened,
            nudge,
            totals,
            journal,
            clock,
            timeout_seconds=settings.backfill_timeout_seconds,
            lease_seconds=lease_seconds,
            on_closed=rollups.add,
        )
        for _ in range(settings.max_concurrent_backfills)
    ]
    steps: list[tuple[str, str, tasks.Step, float]] = [
        *(("backfill", f"backfill-{number}", worker.step, 0.0) for number, worker in enumerate(workers, 1)),
        ("scheduler", "scheduler", jobs_due.step, scheduler.EVERY_SECONDS),
        ("rollups", "rollups", rollups.step, 0.0),
        ("silence", "silence", unheard.step, silence.EVERY_SECONDS),
        ("ledger_monitor", "ledger_monitor", watch.look_at_ledger, monitor.EVERY_SECONDS),
        ("exchange_monitor", "exchange_monitor", watch.look_at_exchange, monitor.EVERY_SECONDS),
    ]
    if settings.audit_days:
        nightly = Audit(
            pool, exchange, market, clock, nudge, days=settings.audit_days, on_corrected=rollups.add
        )
        steps.append(("audit", "audit", nightly.step, audit.EVERY_SECONDS))
    background = {
        asyncio.create_task(
            tasks.forever(kind, step, clock, every=every, troubles=health.troubles), name=name
        )
        for kind, name, step, every in steps
    }
    background.add(asyncio.create_task(lag.watch(clock), name="lag"))
    stopping = False

    def ended(task: asyncio.Task[None]) -> None:
        if not stopping:
            health.ended.append(task.get_name())
            log.error("task_ended", task=task.get_name())

    for task in background:
        task.add_done_callback(ended)
    server = Server(create_app(Jobs(pool, exchange, market, nudge), health, token))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    try:
        yield serving
    finally:
        stopping = True
        for task in background:
            task.cancel()
        server.should_exit = True
        await asyncio.wait({*background, serving}, timeout=_STOP_SECONDS)
        journal.say()
        await probe.close()
        await exchange.close()
        await archives.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await pool.close()
        pool.terminate()

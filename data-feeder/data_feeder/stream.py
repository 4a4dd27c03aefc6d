"""One stream connection kept alive: replaced before it ends, retried when it breaks, moved when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from data_feeder.addresses import Addresses, Failover
from data_feeder.ingest import Ingest
from data_feeder.session import Patience, Session, ending
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock
from marketdata.log import get_logger

log = get_logger(__name__)


async def _first(tasks: set[asyncio.Task[None]], event: asyncio.Event, seconds: float) -> None:
    """Return when a task ends, the event is set, or ``seconds`` are over."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({*tasks, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Stream:
    """The connection of some symbols, whatever socket carries it at the moment."""

    def __init__(
        self,
        urls: Sequence[str],
        symbols: Sequence[str],
        ingest: Ingest,
        clock: Clock,
        patience: Patience,
        on_disconnect: Callable[[str, str], None],
        on_failover: Callable[[Failover], None],
    ) -> None:
        """``on_disconnect`` is told the address and the reason when a connection that delivered ends,
        ``on_failover`` every change of the address that delivers.
        """
        self.symbols = list(symbols)
        self._on_disconnect = on_disconnect
        self._on_failover = on_failover
        self._addresses = Addresses(urls)
        self._ingest = ingest
        self._clock = clock
        self._patience = patience
        self._session: Session | None = None
        self._back_at = 0.0

    @property
    def session(self) -> Session | None:
        """The socket that is delivering; None while there is none."""
        session = self._session
        return session if session is not None and session.delivering.is_set() else None

    @property
    def connected(self) -> bool:
        """Whether a socket is delivering."""
        return self.session is not None

    def replace(self, failed: str = "") -> None:
        """Ask for a new socket; the old one is read until the new one delivers.

        ``failed`` says what is wrong with the address itself, if anything: then the next one is taken.
        """
        if self._session is not None:
            if failed:
                self._addresses.failed(self._session.url, failed)
            self._session.replace.set()

    async def run(self) -> None:
        """Keep the streams coming until cancelled."""
        waits = delays()
        while True:
            if await self._live(self._new(self._addresses.current)):
                waits = delays()
            elif self._addresses.another:
                continue
            await self._clock.sleep(next(waits))

    def _new(self, url: str, reason: str = "") -> Session:
        return Session(url, self.symbols, self._ingest, self._clock, self._patience, self._delivers, reason)

    def _delivers(self, session: Session) -> None:
        failover = self._addresses.delivers(session.url, session.reason)
        if failover is not None:
            self._back_at = self._clock.monotonic() + self._patience.back
            metrics.STREAM_FAILOVERS.labels(session.url).inc()
            log.warning("stream_failover", **{"from": failover.left}, to=session.url, reason=failover.reason)
            self._on_failover(failover)

    async def _live(self, session: Session) -> bool:
        """Read a session and its replacements until one breaks; return whether it had been steady."""
        task = asyncio.create_task(session.run())
        waits = delays(1.0, 60.0)
        self._session = session
        try:
            while True:
                # The first market frame wakes nobody: look once a second whether it came.
                pause = self._left(session) if session.delivering.is_set() else min(1.0, self._left(session))
                await _first({task}, session.replace, pause)
                if not task.done() and not session.delivering.is_set():
                    session.replace.clear()
                    if self._left(session) > 0:
                        continue
                    await _end(task)
                if task.done():
                    self._ended(session, task)
                    return session.steady
                if not session.replace.is_set() and self._left(session) > 0:
                    continue
                back = not session.replace.is_set() and self._addresses.away and self._due_back()
                session.replace.clear()
                url = self._addresses.first if back else self._addresses.current
                following = self._new(url, "the first address is tried again" if back else "")
                new = asyncio.create_task(following.run())
                try:
                    taken = await self._overlap(task, following, new)
                except BaseException:
                    await _end(new)
                    raise
                if taken:
                    if task.done() and not following.delivering.is_set():
                        self._ended(session, task)
                    self._session, old = following, task
                    session, task = following, new
                    await _end(old)
                    log.info("websocket_replaced", delivering=following.delivering.is_set(), url=url)
                    waits = delays(1.0, 60.0)
                    continue
                # The old socket is all there is: keep it, and try again later.
                await _end(new)
                self._ended(following, new)
                log.warning("websocket_not_replaced", url=url, kept=session.url)
                if not back:
                    await asyncio.wait({task}, timeout=next(waits))
                    session.replace.set()
        finally:
            self._session = None
            await _end(task)

    def _left(self, session: Session) -> float:
        """Return the seconds until something is to be done about a session that is well."""
        patience = self._patience
        if not session.delivering.is_set():
            until = session.started + patience.first_data
        elif self._addresses.away:
            until = min(session.started + patience.rollover, self._back_at)
        else:
            until = session.started + patience.rollover
        return max(0.0, until - self._clock.monotonic())

    def _due_back(self) -> bool:
        now = self._clock.monotonic()
        if now < self._back_at:
            return False
        self._back_at = now + self._patience.back
        return True

    async def _overlap(self, old: asyncio.Task[None], following: Session, new: asyncio.Task[None]) -> bool:
        """Wait for a replacement; return whether it takes over: it delivers, or is all that lives."""
        await _first({old, new}, following.delivering, self._patience.replacement)
        if following.delivering.is_set() and not old.done():
            await asyncio.wait({new}, timeout=self._patience.overlap)
        return not new.done() and (following.delivering.is_set() or old.done())

    def _ended(self, session: Session, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        silent = not session.delivering.is_set()
        reason = "silent" if task.cancelled() else ending(error)
        text = "no market frame came" if task.cancelled() else f"{type(error).__name__}: {error}"
        if reason == "defect":
            metrics.TASK_FAILURES.labels("stream").inc()
            log.error("stream_failed", error=repr(error))
        metrics.WEBSOCKET_RECONNECTS.labels(reason).inc()
        log.warning(
            "websocket_disconnected", url=session.url, reason=reason, error=text, delivered=not silent
        )
        if not session.steady:
            self._addresses.failed(session.url, f"{reason}: {text}")
        if not silent:
            self._on_disconnect(session.url, f"{reason}: {text}")

"""One stream connection kept alive: subscribed, read, replaced before it ends, retried when it breaks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Final

import websockets
from websockets.asyncio.client import ClientConnection, connect

from data_feeder import connections
from data_feeder.ingest import Ingest
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.clock import Clock
from marketdata.log import get_logger
from marketdata.models import KlineEvent, Quote, ServerShutdown

log = get_logger(__name__)

ROLLOVER_SECONDS: Final = 23 * 3600.0
"""The exchange ends a connection after 24 hours."""
_DELIVERY_SECONDS: Final = 30.0
_MAX_FRAME_BYTES: Final = 1 << 20


class _Session:
    """One socket's life. ``delivering`` is set by its first market frame."""

    def __init__(self, url: str, symbols: Sequence[str], ingest: Ingest) -> None:
        self.url = url
        self._names = connections.stream_names(symbols)
        self._ingest = ingest
        self._asked = False
        self.delivering = asyncio.Event()
        self.replace = asyncio.Event()

    async def run(self) -> None:
        """Connect, subscribe and read until the socket ends. Raises what ended it."""
        async with connect(
            f"{self.url}/stream",
            max_size=_MAX_FRAME_BYTES,
            compression=None,
            open_timeout=10,
            close_timeout=2,
            ping_interval=20,
            ping_timeout=20,
            max_queue=1024,
            user_agent_header=None,
        ) as socket:
            asking = asyncio.create_task(self._subscribe(socket))
            try:
                await self._read(socket)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _subscribe(self, socket: ClientConnection) -> None:
        messages = connections.subscriptions(self._names)
        for message in messages:
            await socket.send(message)
            await asyncio.sleep(connections.MESSAGE_SPACING_SECONDS if len(messages) > 1 else 0)
        self._asked = True

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            event = await self._ingest.frame(await socket.recv(decode=False))
            if isinstance(event, KlineEvent | Quote):
                if self._asked and not self.delivering.is_set():
                    self.delivering.set()
                    log.info("websocket_connected", url=self.url, streams=len(self._names))
            elif isinstance(event, ServerShutdown):
                log.info("websocket_server_shutdown", url=self.url)
                self.replace.set()
            elif event is not None and event.error is not None:
                log.error("websocket_subscription_refused", url=self.url, reason=event.error)


class Stream:
    """The connection of some symbols, whatever socket carries it at the moment."""

    def __init__(
        self,
        urls: Sequence[str],
        symbols: Sequence[str],
        ingest: Ingest,
        clock: Clock,
        on_disconnect: Callable[[str, str], None],
    ) -> None:
        """``on_disconnect`` is told the address and the reason when a connection that delivered ends."""
        self.symbols = list(symbols)
        self._on_disconnect = on_disconnect
        self._urls = itertools.cycle(urls)
        self._ingest = ingest
        self._clock = clock
        self._session: _Session | None = None

    @property
    def connected(self) -> bool:
        """Whether a socket is delivering."""
        return self._session is not None and self._session.delivering.is_set()

    def replace(self) -> None:
        """Ask for a new socket; the old one is read until the new one delivers."""
        if self._session is not None:
            self._session.replace.set()

    async def run(self) -> None:
        """Keep the streams coming until cancelled."""
        waits = delays()
        while True:
            session = _Session(next(self._urls), self.symbols, self._ingest)
            if await self._live(session):
                waits = delays()
            await self._clock.sleep(next(waits))

    async def _live(self, session: _Session) -> bool:
        """Read a session and its replacements until one breaks; return whether it had delivered."""
        task = asyncio.create_task(session.run())
        new: asyncio.Task[None] | None = None
        waits = delays(1.0, 60.0)
        self._session = session
        try:
            while True:
                replace = asyncio.create_task(session.replace.wait())
                await asyncio.wait(
                    {task, replace}, timeout=ROLLOVER_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                replace.cancel()
                if task.done():
                    self._ended(session, task)
                    return session.delivering.is_set()
                session.replace.clear()
                following = _Session(next(self._urls), self.symbols, self._ingest)
                new = asyncio.create_task(following.run())
                delivering = asyncio.create_task(following.delivering.wait())
                await asyncio.wait(
                    {delivering, new, task}, timeout=_DELIVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                delivering.cancel()
                if following.delivering.is_set() or task.done():
                    if task.done():
                        self._ended(session, task)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    log.info("websocket_replaced", delivering=following.delivering.is_set())
                    self._session, session, task, new = following, following, new, None
                else:
                    # The old socket is all there is: keep it, and try again later.
                    log.warning("websocket_not_replaced", url=following.url)
                    new.cancel()
                    await asyncio.gather(new, return_exceptions=True)
                    new = None
                    await asyncio.wait({task}, timeout=next(waits))
                    session.replace.set()
        finally:
            self._session = None
            for running in (task, new):
                if running is not None:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)

    def _ended(self, session: _Session, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if error is not None and not isinstance(
            error, OSError | TimeoutError | websockets.WebSocketException
        ):
            # Not the network's doing: a defect of ours, which must be seen and must not stop the others.
            metrics.TASK_FAILURES.labels("stream").inc()
            log.error("stream_failed", error=repr(error))
        reason = type(error).__name__ if error is not None else "closed"
        metrics.WEBSOCKET_RECONNECTS.labels(reason).inc()
        log.warning(
            "websocket_disconnected", reason=f"{reason}: {error}", delivered=session.delivering.is_set()
        )
        if session.delivering.is_set():
            self._on_disconnect(session.url, f"{reason}: {error}")

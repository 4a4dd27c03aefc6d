"""One socket's life: connected, subscribed, read until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import CloseCode

from data_feeder import connections
from data_feeder.ingest import Ingest
from data_feeder.wire import Wire
from marketdata.binance.messages import Event
from marketdata.clock import Clock
from marketdata.log import get_logger
from marketdata.models import KlineEvent, Quote, ServerShutdown

log = get_logger(__name__)

_MAX_FRAME_BYTES: Final = 1 << 20
_AT_ONCE: Final = 32
"""Frames taken in between two looks at what else there is to do: well under a millisecond."""
_OUR_WORDS: Final[dict[int, str]] = {
    CloseCode.MESSAGE_TOO_BIG: "frame_too_large",
    CloseCode.INTERNAL_ERROR: "ping_timeout",
}
"""What we say when we end a socket ourselves."""


class Patience(NamedTuple):
    """How long a connection waits for what, in seconds."""

    rollover: float = 23 * 3600.0
    """Age at which it is replaced: the exchange ends it after 24 hours."""
    first_data: float = 70.0
    """From the attempt to the first market frame; longer, and the address counts as silent."""
    replacement: float = 30.0
    """The same for a replacement, while the old socket still delivers."""
    overlap: float = 2.0
    """Both sockets are read this long: what the old one has in hand is not lost."""
    steady: float = 10.0
    """One that delivered for less has failed, and does not end the backoff."""
    back: float = 1800.0
    """From a change to an alternate address (or the last try) until the first one is tried again."""
    ping_interval: float = 20.0
    ping_timeout: float = 30.0
    """Longer than a full buffer leaves the socket, and the pongs on it, unread."""
    opening: float = 10.0
    closing: float = 2.0


class Session:
    """One socket's life. ``delivering`` is set by its first market frame, ``replace`` by whoever wants
    another. Times are the clock's monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        symbols: Sequence[str],
        ingest: Ingest,
        clock: Clock,
        patience: Patience,
        on_delivering: Callable[[Session], None],
        reason: str = "",
    ) -> None:
        self.url = url
        self.reason = reason
        self.started = clock.monotonic()
        self.delivering = asyncio.Event()
        self.delivering_since = self.started
        self.replace = asyncio.Event()
        self.last_frame = self.started
        self.caught_up = False
        """Whether everything that arrived was taken in, and the reader waits for more."""
        self._names = connections.stream_names(symbols)
        self._ingest = ingest
        self._clock = clock
        self._patience = patience
        self._on_delivering = on_delivering
        self._asked = False

    @property
    def steady(self) -> bool:
        """Whether it delivered for long enough to be trusted again after a loss."""
        delivered = self._clock.monotonic() - self.delivering_since
        return self.delivering.is_set() and delivered >= self._patience.steady

    async def run(self) -> None:
        """Connect, subscribe and read until the socket ends. Raises what ended it."""
        async with connect(
            f"{self.url}/stream",
            max_size=_MAX_FRAME_BYTES,
            compression=None,
            open_timeout=self._patience.opening,
            close_timeout=self._patience.closing,
            ping_interval=self._patience.ping_interval,
            ping_timeout=self._patience.ping_timeout,
            user_agent_header=None,
            create_connection=Wire,
        ) as socket:
            assert isinstance(socket, Wire)
            asking = asyncio.create_task(self._subscribe(socket))
            try:
                await self._read(socket)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _subscribe(self, socket: ClientConnection) -> None:
        for message in connections.subscriptions(self._names):
            if self._asked:
                await asyncio.sleep(connections.MESSAGE_SPACING_SECONDS)
            await socket.send(message)
            self._asked = True

    async def _read(self, socket: Wire) -> None:
        while True:
            self.caught_up = True
            messages = await socket.receive()
            self.caught_up = False
            for first in range(0, len(messages), _AT_ONCE):
                if first:
                    # What else there is to do comes before more of the same.
                    await asyncio.sleep(0)
                try:
                    for raw in messages[first : first + _AT_ONCE]:
                        self._heard(await self._ingest.frame(raw))
                finally:
                    self._ingest.count()

    def _heard(self, event: Event | None) -> None:
        if isinstance(event, KlineEvent | Quote):
            self.last_frame = self._clock.monotonic()
            if not self.delivering.is_set():
                self.delivering_since = self.last_frame
                self.delivering.set()
                self._on_delivering(self)
                log.info("websocket_connected", url=self.url, streams=len(self._names))
        elif isinstance(event, ServerShutdown):
            log.info("websocket_server_shutdown", url=self.url)
            self.replace.set()
        elif event is not None and event.error is not None:
            log.error("websocket_subscription_refused", url=self.url, reason=event.error)


def ending(error: BaseException | None) -> str:
    """Return in one word why a socket ended: the label of ``websocket_reconnects_total``."""
    match error:
        case websockets.ConnectionClosed(sent=sent) if sent is not None and not error.rcvd_then_sent:
            return _OUR_WORDS.get(sent.code, "protocol_error")
        case None | websockets.ConnectionClosedOK():
            return "closed"
        case websockets.ConnectionClosed(rcvd=received):
            return "broken" if received is None else "closed"
        case websockets.InvalidHandshake():
            return "refused"
        case TimeoutError():
            return "timeout"
        case websockets.WebSocketException():
            return "protocol_error"
        case OSError():
            return "unreachable"
        case _:
            # Not the network's doing: a defect of ours.
            return "defect"

"""Who gets which stream, and the sending itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from exchange_simulator.streams.frames import Frame


class Listener(Protocol):
    """A connection as the hub sees it."""

    variant: int
    pending: list[bytes]

    def flush(self, bounded: bool) -> None:
        """Send ``pending``; with ``bounded`` drop a reader that is too far behind."""
        ...

    async def drained(self) -> None:
        """Return when the reader has taken most of what was sent, or is gone."""
        ...


class Hub:
    """Subscriptions by stream name. ``on_audience`` hears whether anyone is subscribed at all."""

    def __init__(self, on_audience: Callable[[bool], None], bounded: Callable[[], bool]) -> None:
        self.subscribers: dict[str, dict[Listener, None]] = {}
        self.listeners: dict[Listener, None] = {}
        self.sent_frames = 0
        self._on_audience = on_audience
        self._bounded = bounded

    def join(self, listener: Listener) -> None:
        """A connection opened."""
        self.listeners[listener] = None

    def leave(self, listener: Listener, streams: Iterable[str]) -> None:
        """A connection closed."""
        self.listeners.pop(listener, None)
        for stream in streams:
            self.unsubscribe(listener, stream)

    def subscribe(self, listener: Listener, stream: str) -> None:
        """From now on ``listener`` gets ``stream``; nobody checks that such a stream exists."""
        self.subscribers.setdefault(stream, {})[listener] = None
        self._on_audience(True)

    def unsubscribe(self, listener: Listener, stream: str) -> None:
        """No more of ``stream`` for ``listener``."""
        listeners = self.subscribers.get(stream)
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self.subscribers[stream]
                self._on_audience(bool(self.subscribers))

    def publish(self, frames: Iterable[Frame]) -> None:
        """Send each frame to its subscribers, in order, with one write a connection."""
        touched: list[Listener] = []
        subscribers = self.subscribers
        for frame in frames:
            for listener in subscribers.get(frame.stream, ()):
                if not listener.pending:
                    touched.append(listener)
                listener.pending.append(frame.wire(listener.variant))
        self._flush(touched)

    def broadcast(self, frame: Frame, listeners: Iterable[Listener] | None = None) -> int:
        """Send ``frame`` whether subscribed or not; returns to how many."""
        chosen = list(self.listeners if listeners is None else listeners)
        for listener in chosen:
            listener.pending.append(frame.wire(listener.variant))
        self._flush(chosen)
        return len(chosen)

    async def drained(self) -> None:
        """Wait for every reader."""
        for listener in list(self.listeners):
            await listener.drained()

    def _flush(self, touched: list[Listener]) -> None:
        bounded = self._bounded()
        for listener in touched:
            self.sent_frames += len(listener.pending)
            listener.flush(bounded)

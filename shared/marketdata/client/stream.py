"""A subscription for code without an event loop."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from marketdata.client.loop import LoopThread
from marketdata.client.models import FeatureRow
from marketdata.client.subscription import Subscription


class Stream:
    """An iterator of new rows: ``for row in client.subscribe("BTCUSDT")``. See ``Subscription``.

    It has begun once it is there. Ctrl-C ends the waiting; it may be asked again afterwards.
    """

    def __init__(self, subscription: Subscription, loop: LoopThread) -> None:
        self._subscription = subscription
        self._loop = loop

    def close(self) -> None:
        """End it: the iteration, in whatever thread, is over."""
        self._loop.run(self._subscription.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FeatureRow:
        row = self._loop.run(self._subscription.next_row())
        if row is None:
            raise StopIteration
        return row

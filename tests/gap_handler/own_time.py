"""An event loop whose time goes as a test says, and which never waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Selector(selectors.SelectSelector):
    """Waits for nobody: time is moved on to when the loop wants to be woken, and a little further."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "the loop waits for something that never comes"
        self._loop.now += 1e-6  # what a turn of the loop takes
        if timeout > 0:
            self._loop.now += timeout + self._loop.late()
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own."""

    def __init__(self, late: Callable[[], float]) -> None:
        self.now = 1000.0
        self.late = late
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


def lived(late: Callable[[], float], of: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    """Run ``of`` to its end on a loop that is ``late`` by what that says."""
    loop = Loop(late)
    try:
        loop.run_until_complete(of(loop))
    finally:
        loop.close()

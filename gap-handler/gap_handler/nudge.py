"""The word that there may be work. Losing it loses nothing: workers look by themselves, too."""

from __future__ import annotations

import asyncio


class Nudge:
    """Wakes every worker that waits; one that comes later does not wait at all."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def give(self) -> None:
        """Say that there may be work."""
        self._event.set()

    def take(self) -> None:
        """Forget what was said so far. Call before looking for work, so that a later word counts."""
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        """Return when told, or after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return

"""Evenly spaced turns: each caller gets the next free one, however late the one before it woke up."""

from __future__ import annotations

import asyncio


class Spacing:
    """Turns ``seconds`` apart. Unused ones are gone: after a pause nobody bursts."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    async def turn(self) -> None:
        """Return at this caller's turn. A turn is taken at once, so a late wake-up costs no other its own."""
        now = asyncio.get_running_loop().time()
        mine = max(self._next, now)
        self._next = mine + self._seconds
        await asyncio.sleep(mine - now)

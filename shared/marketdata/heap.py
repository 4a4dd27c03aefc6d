"""Memory that was freed and that the allocator keeps, given back to the system.

A start loads days of candles for each symbol. What that leaves free lies between what is kept, so the
allocator does not give it back by itself: 4 MB of a feeder with three symbols, 13 MB with fifty. Giving it
back holds up all that allocates for as long as it takes, up to 0.1 s for 300 MB: hence seldom.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

FIRST_SECONDS: Final = 60.0
EVERY_SECONDS: Final = 3600.0


def give_back() -> bool:
    """Give back what is free; False where the C library has no ``malloc_trim``, as all but glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def give_back_regularly(loop: asyncio.AbstractEventLoop, seconds: float = FIRST_SECONDS) -> None:
    """Do so after ``seconds`` and then every EVERY_SECONDS, for as long as the loop runs."""

    def again() -> None:
        if give_back():
            give_back_regularly(loop, EVERY_SECONDS)

    loop.call_later(seconds, again)

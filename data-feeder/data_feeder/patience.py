"""How long the rows of a minute wait for the candle that cross features compare with. Pure."""

from __future__ import annotations

from typing import Final

from marketdata.features.columns import REFERENCE
from marketdata.models import Candle

REFERENCE_SECONDS: Final = 1.0
"""How long rows wait for the reference's candle of their minute. Final frames of one minute come within some
tens of milliseconds of each other; what is later than this is late by the exchange's own standards."""
IN_VAIN_MOST: Final = 2
"""Minutes in a row that are waited for in vain: then the reference is out, and nobody waits for it."""
_MINUTES_MOST: Final = 1440


class ReferencePatience:
    """Which minutes' rows still wait for the REFERENCE; times are local, monotonic seconds.

    A minute's time begins with the first candle of it. The reference is punctual again with the first candle
    of its own that comes within that time, whether or not anybody has waited for it.
    """

    def __init__(self, *, captured: bool) -> None:
        self._captured = captured
        self._newest = 0
        self._since: dict[int, float] = {}
        self._in_vain: set[int] = set()

    def committed(self, candle: Candle, now: float) -> None:
        """Take note of a committed candle of any symbol."""
        if not self._captured:
            return
        since = self._since.setdefault(candle.time, now)
        while len(self._since) > _MINUTES_MOST:
            self._since.pop(next(iter(self._since)))
        if candle.symbol == REFERENCE:
            self._came(candle.time, now - since)

    def stored(self, minute: int, now: float) -> None:
        """Take note that the reference's candle of ``minute`` is stored: another feeder captures it."""
        self._came(minute, now - self._since.get(minute, now))

    def wants(self, now: float) -> int | None:
        """The newest minute, while its reference has not come and may still be punctual; else None."""
        newest = max(self._since, default=0)
        if newest <= self._newest or now - self._since[newest] > REFERENCE_SECONDS:
            return None
        return newest

    def _came(self, minute: int, after: float) -> None:
        if minute > self._newest:
            self._newest = minute
            if after <= REFERENCE_SECONDS:
                self._in_vain.clear()

    def waits(self, candle: Candle, now: float) -> float:
        """Return how many seconds the row of a candle has to wait yet: 0, it is due."""
        minute = candle.time
        if not self._captured or candle.symbol == REFERENCE or minute <= self._newest:
            return 0.0
        if len(self._in_vain - {minute}) >= IN_VAIN_MOST:
            return 0.0
        left = self._since.get(minute, now) + REFERENCE_SECONDS - now
        if left > 0:
            return left
        self._in_vain.add(minute)
        return 0.0

"""Which final candle follows which, and which minutes were jumped over. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from marketdata.models import MINUTE_MS, KlineEvent

LATE_AFTER_MS: Final = 5_000
"""A final frame this late is a gap like any other; it normally comes tens of milliseconds after the close."""


class Hole(NamedTuple):
    """Minutes ``[start, end)`` (Unix ms) of ``symbol`` of which no final frame came."""

    symbol: str
    start: int
    end: int
    cause: str


class Step(NamedTuple):
    """What an event means: whether it continues the head of its symbol, and what it jumped over."""

    is_head: bool
    hole: Hole | None


_HEAD: Final = Step(True, None)
_NOTHING: Final = Step(False, None)


class Sequence:
    """The order of one symbol's minutes.

    ``head`` is the open of the newest minute accounted for: its final candle was seen, or it lies
    before the start and is the ledger's business.
    """

    def __init__(self, symbol: str, head: int) -> None:
        self.symbol = symbol
        self.head = head
        self._reported_to = head + MINUTE_MS

    def _hole(self, end: int, cause: str) -> Hole | None:
        start = max(self.head + MINUTE_MS, self._reported_to)
        if start >= end:
            return None
        self._reported_to = end
        return Hole(self.symbol, start, end, cause)

    def observe(self, event: KlineEvent) -> Step:
        """Take note of a kline event of this symbol.

        A final candle past the next expected one, or an open one whose predecessor's final frame is
        ``LATE_AFTER_MS`` overdue, reveals a hole; each minute is reported once.
        """
        time = event.candle.time
        if event.final:
            if time == self.head + MINUTE_MS == self._reported_to:
                self.head, self._reported_to = time, time + MINUTE_MS
                return _HEAD
            if time <= self.head:
                return _NOTHING
            hole = self._hole(time, "jump")
            # A minute reported missing has been handed to the ledger: its late candle is a repair.
            is_head = time >= self._reported_to
            self.head = time
            self._reported_to = max(self._reported_to, time + MINUTE_MS)
            return Step(is_head, hole)
        if time > self.head + MINUTE_MS and event.event_time >= time + LATE_AFTER_MS:
            return Step(False, self._hole(time, "late"))
        return _NOTHING

    def overdue(self, now: int, cause: str) -> Hole | None:
        """Report the whole minutes before ``now`` (exchange time, Unix ms) that are still owed."""
        return self._hole(now - now % MINUTE_MS, cause)

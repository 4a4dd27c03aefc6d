"""What the workers log: every step of a piece while they are few, sums once a second while they are many."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any, Final

from marketdata.clock import Clock
from marketdata.log import get_logger
from marketdata.minutes import isoformat
from marketdata.store.ledger import Work

log = get_logger(__name__)

FEW: Final = 20
"""Pieces begun by all workers of this process within ``FEW_SECONDS`` that are still told one by one."""
FEW_SECONDS: Final = 10.0
_NAMED_MOST: Final = 10
_SAY_SECONDS: Final = 1.0


class Journal:
    """Shared by the workers. Warnings and errors are not its own: they stay a line each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun: deque[float] = deque(maxlen=FEW)
        self._counts: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._symbols: dict[str, None] = {}
        self._due: asyncio.TimerHandle | None = None

    def started(self, work: Work) -> Entry:
        """Log that a piece of work was begun, and return where its further steps are logged."""
        now = self._clock.monotonic()
        many = len(self._begun) == FEW and now - self._begun[0] < FEW_SECONDS
        self._begun.append(now)
        entry = Entry(self, work, many=many)
        entry.say("backfill_started", attempt=work.attempts, second_look=work.is_outage)
        return entry

    def count(self, event: str, symbol: str, fields: dict[str, Any]) -> None:
        """Add a step to the sums, which are said within a second."""
        self._counts[event] += 1
        self._counts["candles"] += fields.get("candles", 0) if event == "candles_recovered" else 0
        if event == "backfill_waiting":
            self._waiting[str(fields.get("reason"))] += 1
        self._symbols[symbol] = None
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_SAY_SECONDS, self.say)

    def say(self) -> None:
        """Log the sums of what was not told, if there is any."""
        if self._due is not None:
            self._due.cancel()
        self._due = None
        counts, waiting, symbols = self._counts, self._waiting, list(self._symbols)
        self._counts, self._waiting, self._symbols = Counter(), Counter(), {}
        if counts:
            log.info(
                "backfills_summed",
                started=counts["backfill_started"],
                completed=counts["backfill_completed"],
                waiting=dict(waiting),
                candles=counts["candles"],
                symbols=symbols[:_NAMED_MOST],
                symbol_count=len(symbols),
            )


class Entry:
    """One piece of work: logged step by step, or counted from its first step to its last."""

    def __init__(self, journal: Journal, work: Work, *, many: bool) -> None:
        gap = work.gap
        self.fields: dict[str, Any] = {
            "id": gap.id,
            "symbol": gap.symbol,
            "start": isoformat(gap.start),
            "end": isoformat(gap.end),
            "minutes": gap.minutes,
        }
        self._journal = journal
        self._many = many

    def say(self, event: str, **fields: Any) -> None:
        """Log or count a step."""
        if self._many:
            self._journal.count(event, self.fields["symbol"], fields)
        else:
            log.info(event, **self.fields, **fields)

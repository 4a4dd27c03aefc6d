"""The store and the ledger as small as they can be said: minutes in sets, rows in a list.

It means what ``20_coverage.sql`` and ``30_ledger.sql`` of ``timescaledb/repeatable`` mean, and
``test_ledger_machine.py`` holds the two against each other. Minutes are counted from an arbitrary minute
0, ranges are half-open, ``now`` and ``next_look`` are market time in milliseconds from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise

from tests.promise.days import Days, ShortDays, newest_piece

from marketdata.errors import LeaseLostError
from marketdata.models import MINUTE_MS

Span = tuple[int, int]

FOREVER = 10**9


def runs(minutes: Iterable[int]) -> list[Span]:
    """Return the runs of consecutive minutes, ascending."""
    found: list[Span] = []
    for minute in sorted(minutes):
        if found and found[-1][1] == minute:
            found[-1] = (found[-1][0], minute + 1)
        else:
            found.append((minute, minute + 1))
    return found


@dataclass(eq=False)
class Entry:
    """A row of the ledger. ``held``: a lease, or the pause before a retry, keeps workers away.

    ``owner`` is who claimed it last and neither settled it nor gave it back, held or not.
    """

    id: int
    kind: str
    symbol: str
    start: int
    end: int
    resolved: bool = False
    attempts: int = 0
    held: bool = False
    owner: str | None = None
    recovered: int = 0
    next_look: int | None = None

    @property
    def minutes(self) -> range:
        return range(self.start, self.end)

    @property
    def row(self) -> tuple[object, ...]:
        """What of it can be compared with a row of the table."""
        span = self.symbol, self.kind, self.start, self.end
        return *span, self.resolved, self.attempts, self.held, self.owner or "", self.recovered


@dataclass
class Ledger:
    """``stored`` names each stored minute's status in the coverage: its source, or ``no-trade``."""

    now: int = 0
    days: Days = field(default_factory=ShortDays)
    history: dict[str, int] = field(default_factory=dict)
    first_kline: dict[str, int | None] = field(default_factory=dict)
    expected_until: dict[str, int] = field(default_factory=dict)
    stored: dict[tuple[str, int], str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    _ids: count[int] = field(default_factory=lambda: count(1))

    def _add(self, kind: str, symbol: str, span: Span, **fields: object) -> Entry:
        entry = Entry(next(self._ids), kind, symbol, *span, **fields)  # type: ignore[arg-type]
        self.entries.append(entry)
        return entry

    def find(self, entry_id: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.id == entry_id), None)

    def missing(self, symbol: str, start: int, end: int) -> set[int]:
        """``missing_ranges``: the minutes without a row."""
        return {minute for minute in range(start, end) if (symbol, minute) not in self.stored}

    def minutes_of(self, symbol: str, kind: str, *, resolved: bool | None = None) -> set[int]:
        """The minutes of a symbol's gaps or outages; of those in one state, unless it is None."""
        return {
            minute
            for entry in self.entries
            if (entry.symbol, entry.kind) == (symbol, kind) and resolved in (None, entry.resolved)
            for minute in entry.minutes
        }

    def expected(self, symbol: str) -> range:
        """``expected_range``: the minutes this database answers for."""
        owed = self.owed(symbol)
        return range(max(self.history[symbol], owed.start), min(owed.stop, self.now // MINUTE_MS))

    def owed(self, symbol: str) -> range:
        """``owed_minutes``: what is not too old, from the first kline to the delisting."""
        starts = (self.first_kline[symbol], self.days.edge(self.now))
        start = max((edge for edge in starts if edge is not None), default=-FOREVER)
        return range(start, self.expected_until.get(symbol, FOREVER))

    def coverage(self, symbol: str, start: int, end: int) -> dict[int, str]:
        """``candle_coverage``, minute by minute."""
        outages = self.minutes_of(symbol, "outage", resolved=True)
        return {
            minute: self.stored.get((symbol, minute)) or ("outage" if minute in outages else "missing")
            for minute in range(start, end)
            if minute in self.expected(symbol)
        }

    def record_missing(self, symbol: str, start: int, end: int, *, reopen: bool = False) -> list[Span]:
        known = self.minutes_of(symbol, "gap", resolved=False) | self.minutes_of(
            symbol, "outage", resolved=False if reopen else None
        )
        opened = runs(self.missing(symbol, start, end) - known)
        for first, last in opened:
            for entry in self.entries:
                if (entry.symbol, entry.kind, entry.resolved, entry.end) == (symbol, "gap", False, first):
                    entry.end = last
                    break
            else:
                self._add("gap", symbol, (first, last))
        return opened

    def claimable(self) -> list[Entry]:
        """The open work that may be claimed next: of several, any."""
        open_work = [
            entry
            for entry in self.entries
            if not entry.resolved
            and not entry.held
            and (entry.next_look is None or entry.next_look <= self.now)
        ]

        def order(entry: Entry) -> tuple[bool, bool, int]:
            return entry.kind != "outage", entry.attempts > 3, -entry.end

        first = min(map(order, open_work), default=None)
        return [entry for entry in open_work if order(entry) == first]

    def claim(self, work: Entry, most: int, owner: str) -> Entry:
        """Lease ``work``, one of ``claimable``; of a large gap a piece, which becomes a row of its own."""
        cut = newest_piece(self.days, self.now, work.start, work.end, most)
        if work.kind == "gap" and cut > work.start:
            piece = self._add("gap", work.symbol, (cut, work.end))
            work.end, work.held, work.owner = cut, False, None
            work = piece
        work.attempts += 1
        work.held, work.owner = True, owner
        return work

    def _leased(self, entry_id: int, owner: str, kind: str | None = None) -> Entry:
        """The open row a worker was given; it is lost when another has it, it is done, or was joined."""
        entry = self.find(entry_id)
        if entry is None or entry.resolved or entry.owner != owner or kind not in (None, entry.kind):
            raise LeaseLostError
        return entry

    def renew(self, entry_id: int, owner: str, *, recovered: int = 0) -> None:
        entry = self._leased(entry_id, owner)
        entry.held = True
        entry.recovered += recovered

    def release(self, entry_id: int, owner: str, *, held: bool) -> None:
        with suppress(LeaseLostError):
            entry = self._leased(entry_id, owner)
            entry.held, entry.owner = held, None

    def settle_gap(self, entry_id: int, owner: str, *, recovered: int = 0) -> bool:
        gap = self._leased(entry_id, owner, "gap")
        absent = self.missing(gap.symbol, gap.start, gap.end) - self.minutes_of(gap.symbol, "outage")
        owed = self.owed(gap.symbol)
        gap.resolved = not any(minute in owed for minute in absent)
        gap.held, gap.owner = not gap.resolved, None
        gap.recovered += recovered
        return gap.resolved

    def record_outage(self, symbol: str, start: int, end: int, *, confirm_ms: int) -> None:
        confirmed = self.minutes_of(symbol, "outage", resolved=True)
        for part in runs(self.missing(symbol, start, end) - confirmed):
            self._join("outage", symbol, part, resolved=False, next_look=self.now + confirm_ms)

    def settle_outage(self, entry_id: int, owner: str) -> None:
        looked = self._leased(entry_id, owner, "outage")
        absent = self.missing(looked.symbol, looked.start, looked.end)
        self.entries.remove(looked)
        for part in runs(set(looked.minutes) - absent):
            self._add(
                "gap",
                looked.symbol,
                part,
                resolved=True,
                attempts=looked.attempts,
                recovered=part[1] - part[0],
            )
        for part in runs(absent):
            self._join("outage", looked.symbol, part, resolved=True, attempts=looked.attempts)

    def _join(self, kind: str, symbol: str, span: Span, *, resolved: bool, **fields: object) -> None:
        """Add a row that takes in those of its kind and state which it touches."""
        start, end = span
        for entry in [*self.entries]:
            if (entry.kind, entry.symbol, entry.resolved) == (kind, symbol, resolved) and (
                entry.start <= span[1] and entry.end >= span[0]
            ):
                self.entries.remove(entry)
                start, end = min(start, entry.start), max(end, entry.end)
        self._add(kind, symbol, (start, end), resolved=resolved, **fields)

    def overlaps(self) -> list[tuple[Entry, Entry]]:
        """Pairs the table's two exclusion constraints refuse."""
        apart = [
            sorted(
                (
                    e
                    for e in self.entries
                    if e.symbol == symbol and e.kind == kind and not (kind == "gap" and e.resolved)
                ),
                key=lambda e: e.start,
            )
            for symbol in self.history
            for kind in ("gap", "outage")
        ]
        return [
            (one, other) for entries in apart for one, other in pairwise(entries) if one.end > other.start
        ]

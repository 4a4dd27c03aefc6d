"""What a program has stored beside what the exchange has sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.peers.market import Row


class Verdict(NamedTuple):
    """How many candles are ``missing``, ``wrong`` in any number, or ``extra`` (not sent, or twice)."""

    sent: int
    missing: int
    wrong: int
    extra: int

    def __str__(self) -> str:
        if not (self.missing or self.wrong or self.extra):
            return f"all {self.sent} right"
        return f"{self.missing} missing, {self.wrong} wrong, {self.extra} extra of {self.sent}"


def judge(sent: Iterable[Row], stored: Iterable[Row]) -> Verdict:
    """Compare every number of every candle exactly. ``stored`` may name a symbol with a dash in it."""
    due = {(row.symbol, row.time): row for row in sent}
    seen: set[tuple[str, int]] = set()
    wrong = extra = 0
    for named in stored:
        row = named._replace(symbol=named.symbol.replace("-", ""))
        key = (row.symbol, row.time)
        if key not in due or key in seen:
            extra += 1
        elif row != due[key]:
            wrong += 1
        seen.add(key)
    return Verdict(len(due), len(due.keys() - seen), wrong, extra)

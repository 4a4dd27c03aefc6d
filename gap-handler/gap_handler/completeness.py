"""How whole the history is, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

WORST: Final = 10


class History(NamedTuple):
    """A symbol's expected minutes and what became of them. ``share`` (0 to 1) is None without any."""

    symbol: str
    expected: int
    present: int
    missing: int
    outage: int
    share: float | None


def percent(history: History) -> str:
    """Return the share in percent, rounded down: only a history that lacks nothing is 100%."""
    if history.expected == 0:
        return "-"
    hundredths = (history.expected - history.missing) * 10_000 // history.expected
    return f"{hundredths // 100}.{hundredths % 100:02d}%"


def sentence(history: History) -> str:
    """Return e.g. ``BTCUSDT 99.78%, 1,234 of 568,800 minutes missing``."""
    if history.expected == 0:
        return f"{history.symbol}: no minute is expected yet"
    text = f"{history.symbol} {percent(history)}, {history.missing:,} of {history.expected:,} minutes missing"
    return text + (f", {history.outage:,} in outages" if history.outage else "")


def total(histories: Sequence[History]) -> History:
    """Return the sum over all symbols, under the name ``total``."""
    expected, present, missing, outage = (
        (sum(numbers) for numbers in zip(*(history[1:5] for history in histories), strict=True))
        if histories
        else (0, 0, 0, 0)
    )
    return History("total", expected, present, missing, outage, 1 - missing / expected if expected else None)


def report(histories: Sequence[History]) -> dict[str, Any]:
    """Return what /health says: the total, and the ten symbols that lack most."""
    worst = sorted(histories, key=lambda history: (-history.missing, history.symbol))[:WORST]
    return _fields(total(histories)) | {
        "symbols": len(histories),
        "worst": [{"symbol": history.symbol} | _fields(history) for history in worst],
    }


def _fields(history: History) -> dict[str, Any]:
    return {
        "summary": sentence(history),
        "completeness": history.share,
        "expected_minutes": history.expected,
        "present_minutes": history.present,
        "missing_minutes": history.missing,
        "outage_minutes": history.outage,
    }

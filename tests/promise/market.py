"""An exchange with a true record: what it streams of each minute, and what it answers by REST."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Final

from marketdata.binance.rest import RestCandle, decode_klines
from marketdata.models import MINUTE_MS, Candle

T0: Final = 1_679_616_000_000
"""Minute 0: the first that the database answers for."""
LISTED: Final = {"AUSDT": -1000, "BUSDT": 5, "CUSDT": 1}
"""Each symbol's first minute: one is old, one begins while we look, one began inside the history."""
SYMBOLS: Final = tuple(LISTED)
EARLY_MS: Final = 41_000


class Kind(StrEnum):
    """What a minute is like."""

    TRADED = "traded"
    QUIET = "quiet"
    HALT = "halt"
    WRONG = "wrong"
    """The exchange's own row cannot be a candle, wherever it is asked for."""
    WRONG_FRAME = "wrong frame"
    SHORT = "short"
    """REST names a close before the minute's end, and the candle goes on."""
    EARLY = "early"
    """Trading ended in the middle of the minute, and its candle with it."""


def ms(minute: int) -> int:
    return T0 + minute * MINUTE_MS


def minute_of(time: int) -> int:
    return (time - T0) // MINUTE_MS


class Market:
    """Time, what each minute is like, and which rows REST does not show at present."""

    def __init__(self) -> None:
        self.now = ms(3) + 5_000
        self.kinds: dict[tuple[str, int], Kind] = {}
        self.hidden: set[tuple[str, int]] = set()

    def kind(self, symbol: str, minute: int) -> Kind:
        return Kind.HALT if minute < LISTED[symbol] else self.kinds.get((symbol, minute), Kind.TRADED)

    def final_at(self, symbol: str, minute: int) -> int:
        """From when on the minute's candle does not change any more."""
        return ms(minute) + (EARLY_MS if self.kind(symbol, minute) is Kind.EARLY else MINUTE_MS)

    def final(self, symbol: str, minute: int) -> Candle | None:
        """The candle a perfect record has; None for a minute without one."""
        if self.kind(symbol, minute) in (Kind.HALT, Kind.WRONG):
            return None
        return Candle(*self._values(symbol, minute, ms(minute + 1)))

    def _values(self, symbol: str, minute: int, when: int, *, wrong: bool = False) -> tuple[Any, ...]:
        price = 100.0 + minute % 50
        if self.kind(symbol, minute) is Kind.QUIET:
            return symbol, ms(minute), price, price, price, price, 0.0, 0.0, 0, 0.0, 0.0
        share = min(1.0, (min(when, self.final_at(symbol, minute)) - ms(minute)) / MINUTE_MS)
        high = price - 9 if wrong else price + 2 * share
        amounts = 10 * share, 1000 * share, int(60 * share) + 1, 5 * share, 500 * share
        numbers = price, high, price - share, price + share, *amounts
        # Eight digits, as both answers print them.
        return symbol, ms(minute), *(round(number, 8) for number in numbers)

    def frame(self, symbol: str, minute: int, pushed: int, *, final: bool) -> dict[str, Any] | None:
        """The kline frame pushed at ``pushed``; None while trading is halted."""
        kind = self.kind(symbol, minute)
        if kind is Kind.HALT:
            return None
        v = self._values(symbol, minute, pushed, wrong=kind in (Kind.WRONG, Kind.WRONG_FRAME))
        k = dict(zip(("s", *"tohlcvqnVQ"), v, strict=True))
        k |= {name: f"{k[name]:.8f}" for name in "ohlcvqVQ"} | {"i": "1m", "x": final}
        return {"e": "kline", "E": pushed, "s": symbol, "k": k}

    def klines(
        self, symbol: str, start: int, end: int | None, limit: int, *, behind: int = 0
    ) -> list[RestCandle]:
        """The rows that open in ``[start, end)``, as a host that is ``behind`` ms late has them."""
        now = self.now - behind
        # The record from long before minute 0 is one row: nobody asks for the others.
        record = [LISTED[symbol], *range(max(-5, LISTED[symbol] + 1), minute_of(now) + 1)]
        rows: list[list[Any]] = []
        for minute in record:
            kind = self.kind(symbol, minute)
            shown = kind is not Kind.HALT and (symbol, minute) not in self.hidden and ms(minute) <= now
            if shown and start <= ms(minute) and (end is None or ms(minute) < end) and len(rows) < limit:
                _, t, o, h, low, c, v, q, n, bv, bq = self._values(
                    symbol, minute, now, wrong=kind is Kind.WRONG
                )
                early = kind in (Kind.EARLY, Kind.SHORT)
                close = ms(minute) + (EARLY_MS if early else MINUTE_MS) - 1
                rows.append(
                    [t, str(o), str(h), str(low), str(c), str(v), close, str(q), n, str(bv), str(bq), "0"]
                )
        return decode_klines(json.dumps(rows).encode(), symbol)

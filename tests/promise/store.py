"""The database of the capture machine: the small ledger, candles beside it, what must never be written."""

from __future__ import annotations

from collections.abc import Iterable

from tests.promise.ledger import Ledger, runs
from tests.promise.market import SYMBOLS, T0, Market, minute_of, ms

from marketdata.models import Candle, Source
from marketdata.store.candles import Row, prepare


class DatabaseAwayError(Exception):
    """The database cannot be reached."""


class Store:
    """What is committed. Every write is checked against the exchange's true record."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.away = False
        self.ledger = Ledger(
            now=0,
            history=dict.fromkeys(SYMBOLS, 0),
            first_kline=dict.fromkeys(SYMBOLS),
        )
        self.candles: dict[tuple[str, int], tuple[Candle, Source]] = {}
        self.invalid: set[tuple[str, int]] = set()

    def reach(self) -> None:
        if self.away:
            raise DatabaseAwayError

    def advance(self, now: int) -> None:
        self.reach()
        self.ledger.now = max(self.ledger.now, now - T0)

    def write(self, rows: Iterable[Row], *, source: Source, head: bool = False) -> int:
        """``candles.write``: return how many are new."""
        self.reach()
        wanted, refused = prepare(rows)
        inserted = 0
        before = {key: source for key, (_, source) in self.candles.items()}
        for row in wanted:
            symbol, minute = row.candle.symbol, minute_of(row.candle.time)
            assert row.candle == self.market.final(symbol, minute), f"invented: {row.candle}"
            assert self.market.now >= self.market.final_at(symbol, minute), f"not over yet: {row.candle}"
            stored = self.candles.get((symbol, minute))
            if stored is None:
                inserted += 1
                # That a repair was quicker than the stream's backlog is for the SQL to notice.
                later = [
                    m for (s, m), of in before.items() if s == symbol and m > minute and of is Source.STREAM
                ]
                assert not (head and later), f"{symbol} {minute} is called head after {later}"
            elif stored[0] == row.candle or (stored[1] is not Source.STREAM and source is Source.STREAM):
                continue
            self.candles[symbol, minute] = row.candle, source
            self.ledger.stored[symbol, minute] = source.value if row.candle.trades else "no-trade"
        self.invalid |= {(candle.symbol, minute_of(candle.time)) for candle, _ in refused}
        newest = max((row.known_at for row in wanted), default=0)
        self.ledger.now = max(self.ledger.now, newest - T0)
        return inserted

    def record_missing(self, symbol: str, start: int, end: int, *, reopen: bool = False) -> None:
        self.reach()
        # The SQL takes the minutes that contain the ends.
        self.ledger.record_missing(symbol, minute_of(start), minute_of(end), reopen=reopen)

    def missing(self, symbol: str, start: int, end: int, *, is_outage: bool) -> list[tuple[int, int]]:
        """``missing.sql`` of the gap-handler, in Unix ms."""
        self.reach()
        owed = self.ledger.owed(symbol)
        wanted = self.ledger.missing(symbol, minute_of(start), minute_of(end))
        if not is_outage:
            wanted -= self.ledger.minutes_of(symbol, "outage", resolved=False)
        return [(ms(a), ms(b)) for a, b in runs(m for m in wanted if m in owed)]

    def covered(self, symbol: str) -> set[int]:
        """The minutes somebody accounts for: stored, in an open gap, in an outage, or never expected."""
        first = self.ledger.first_kline[symbol] or 0
        return (
            {m for s, m in self.candles if s == symbol}
            | self.ledger.minutes_of(symbol, "gap", resolved=False)
            | self.ledger.minutes_of(symbol, "outage")
            | set(range(first))
        )

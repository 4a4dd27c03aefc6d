"""From quotes to one row a minute: the newest quote is sampled once a second. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from marketdata.models import MINUTE_MS, Quote
from marketdata.store.books import BookMinute

SAMPLES_MOST: Final = 60


class _Running:
    """One symbol's minute so far; ``minute`` is its open (Unix ms)."""

    __slots__ = ("imbalance", "last", "minute", "quote", "samples", "spread_bps", "updates")

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.quote: Quote | None = None
        self.last: Quote | None = None
        self.updates = 0
        self.samples = 0
        self.spread_bps = 0.0
        self.imbalance = 0.0

    def sample(self, quote: Quote | None) -> None:
        # More seconds than a minute has: the market's clock stands still, and the minute is over.
        if quote is not None and self.samples < SAMPLES_MOST:
            self.samples += 1
            self.spread_bps += spread_bps(quote)
            self.imbalance += imbalance(quote)

    def finish(self, minute: int) -> BookMinute | None:
        """Begin ``minute`` and return the row of the one before, None where no quote came in it."""
        row, quote = None, self.last
        if quote is not None and self.updates and self.minute:
            if not self.samples:
                self.sample(quote)
            row = BookMinute(
                quote.symbol, self.minute, quote.bid, quote.bid_size, quote.ask, quote.ask_size,
                self.spread_bps / self.samples, self.imbalance / self.samples, self.updates,
            )  # fmt: skip
        self.minute = minute
        self.updates = self.samples = 0
        self.spread_bps = self.imbalance = 0.0
        return row


def spread_bps(quote: Quote) -> float:
    """Return (ask - bid) / mid in basis points."""
    return (quote.ask - quote.bid) / ((quote.ask + quote.bid) / 2) * 10_000


def imbalance(quote: Quote) -> float:
    """Return (bid size - ask size) / (bid size + ask size), from -1 to 1; 0 for an empty top."""
    total = quote.bid_size + quote.ask_size
    return (quote.bid_size - quote.ask_size) / total if total else 0.0


class BookRecorder:
    """The running minute of every symbol's top of book, by the market's clock.

    Spot's quotes carry no time, so they belong to the minute the kline frames say it is.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._running: dict[str, _Running] = {}

    def update(self, quote: Quote) -> None:
        """Keep the newest quote; one that cannot be (crossed, or without a price) is not counted."""
        if not 0 < quote.bid <= quote.ask:
            return
        running = self._running.get(quote.symbol)
        if running is None:
            running = self._running[quote.symbol] = _Running(self._minute)
        running.quote = running.last = quote
        running.updates += 1

    def sample(self) -> None:
        """Take one sample of every symbol's newest quote; call it once a second."""
        for running in self._running.values():
            running.sample(running.quote)

    def forget(self, symbols: Iterable[str]) -> None:
        """Drop the quotes in force: their stream broke, and nobody knows whether they still are."""
        for symbol in symbols:
            if symbol in self._running:
                self._running[symbol].quote = None

    def over(self, market_now: int) -> bool:
        """Return whether the market's clock (Unix ms) has left the running minute."""
        return market_now >= self._minute + MINUTE_MS

    def advance(self, market_now: int) -> list[BookMinute]:
        """Return the finished minute's rows once the market's clock (Unix ms) has left it.

        A symbol without a quote in that minute has no row. The quote in force is carried on, for
        the samples of the next minute, but does not count as one of its updates.
        """
        minute = market_now - market_now % MINUTE_MS
        if minute <= self._minute:
            return []
        self._minute = minute
        rows = [running.finish(minute) for running in self._running.values() if running.minute < minute]
        return [row for row in rows if row is not None]

    def close(self, symbol: str, minute: int) -> list[BookMinute]:
        """Return the row of a symbol whose candle of ``minute`` is final, if it was not returned yet.

        A candle may close early: when trading halted on 2023-03-24 the last one ended at 12:39:41.
        """
        running = self._running.get(symbol)
        if running is None or running.minute != minute:
            return []
        row = running.finish(minute + MINUTE_MS)
        return [] if row is None else [row]

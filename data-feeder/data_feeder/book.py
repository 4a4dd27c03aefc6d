"""From quotes to one row a minute: the newest quote is sampled once a second. Pure."""

from __future__ import annotations

from marketdata.models import MINUTE_MS, Quote
from marketdata.store.books import BookMinute


class _Minute:
    __slots__ = ("imbalance", "quote", "samples", "spread_bps", "updates")

    def __init__(self) -> None:
        self.quote: Quote | None = None
        self.updates = 0
        self.samples = 0
        self.spread_bps = 0.0
        self.imbalance = 0.0


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
        self._running: dict[str, _Minute] = {}

    def update(self, quote: Quote) -> None:
        """Keep the newest quote; one that cannot be (crossed, or without a price) is not counted."""
        if not 0 < quote.bid <= quote.ask:
            return
        running = self._running.get(quote.symbol)
        if running is None:
            running = self._running[quote.symbol] = _Minute()
        running.quote = quote
        running.updates += 1

    def sample(self) -> None:
        """Take one sample of every symbol's newest quote; call it once a second."""
        for running in self._running.values():
            self._sample(running)

    @staticmethod
    def _sample(running: _Minute) -> None:
        if running.quote is not None:
            running.samples += 1
            running.spread_bps += spread_bps(running.quote)
            running.imbalance += imbalance(running.quote)

    def advance(self, market_now: int) -> list[BookMinute]:
        """Return the finished minute's rows once the market's clock (Unix ms) has left it.

        A symbol without a quote in that minute has no row. The quote in force is carried on, for
        the samples of the next minute, but does not count as one of its updates.
        """
        minute = market_now - market_now % MINUTE_MS
        if minute <= self._minute:
            return []
        finished, self._minute = self._minute, minute
        rows = []
        for symbol, running in self._running.items():
            quote = running.quote
            if quote is None or not running.updates or not finished:
                continue
            if not running.samples:
                self._sample(running)
            rows.append(
                BookMinute(
                    symbol,
                    finished,
                    quote.bid,
                    quote.bid_size,
                    quote.ask,
                    quote.ask_size,
                    running.spread_bps / running.samples,
                    running.imbalance / running.samples,
                    running.updates,
                )
            )
        for running in self._running.values():
            running.updates = running.samples = 0
            running.spread_bps = running.imbalance = 0.0
        return rows

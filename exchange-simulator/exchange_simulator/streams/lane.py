"""One symbol's place in the stream: its names, and the candle that is running now."""

from __future__ import annotations

from exchange_simulator.book import order_sizes
from exchange_simulator.intrabar import Path
from exchange_simulator.market import Market
from exchange_simulator.rows import CLOSE_TIME, TRADES, Row


class Lane:
    """Remembers what is needed of one minute, so that its many frames look it up once.

    ``active_until`` is the last ms at which the loaded candle is open and trading; -1 when it never
    trades.
    """

    def __init__(self, market: Market, symbol: str, index: int) -> None:
        self.symbol = symbol
        self.index = index
        self.spec = market.source.spec(symbol)
        self.sizes = order_sizes(self.spec)
        self.prefix = symbol.lower()
        self.kline = self.prefix + "@kline_1m"
        self.book = self.prefix + "@bookTicker"
        self.first_id = -1
        self.close_time = 0
        self.active_until = -1
        self.row: Row | None = None
        self.path: Path | None = None
        self._market = market
        self._minute = -1
        self._version = -1

    def load(self, minute: int) -> bool:
        """Turn to the candle opening at ``minute`` (ms); False where there is none."""
        if minute != self._minute or self._version != self._market.version:
            self._minute, self._version = minute, self._market.version
            self._load(minute)
        return self.path is not None

    def _load(self, minute: int) -> None:
        self.row = self.path = None
        place = self._market.place(self.symbol, minute)
        if place is not None:
            day, position = place
            ints = day.ints(position)
            self.close_time = ints[CLOSE_TIME]
            self.active_until = self.close_time if ints[TRADES] else -1
            self.row = day.row(position)
            self.first_id = day.first_trade_id(position)
            self.path = Path(ints, self.spec)

"""`/api/v3/ticker/...`, `/api/v3/avgPrice` and `/api/v3/depth`: prices of the moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from exchange_simulator.book import Top, order_sizes, top_of_book
from exchange_simulator.clock import MarketClock
from exchange_simulator.decimals import E8, text
from exchange_simulator.market import Market
from exchange_simulator.rest import errors
from exchange_simulator.rest.exchange_info import STATUSES, status_of
from exchange_simulator.rest.params import Params
from exchange_simulator.rows import CLOSE, HIGH, LOW, MINUTE_MS, OPEN, OPEN_TIME, QUOTE, TRADES, VOLUME
from exchange_simulator.symbols import SymbolSpec

_KNOWN = ("symbol", "symbols", "symbolStatus", "type")
One = Callable[[Market, str, int], dict[str, Any] | None]


def one_or_many(query: Mapping[str, str], market: Market, clock: MarketClock, one: One) -> Any:
    """An object for `symbol`, an array for `symbols` or none. Raises ApiError."""
    params = Params(query, _KNOWN)
    several = params.symbols()
    status = params.text("symbolStatus")
    if status is not None and status not in STATUSES:
        raise errors.ApiError(-1122, "Invalid symbolStatus.")
    if params.text("symbol") is not None:
        if several is not None:
            raise errors.combination()
        chosen = [params.symbol()]
    else:
        chosen = several or list(market.symbols)
    if any(symbol not in market.symbols for symbol in chosen):
        raise errors.invalid_symbol()
    now = clock.now_ms()
    kept = [symbol for symbol in chosen if status is None or status_of(market, symbol, now) == status]
    answers = [answer for symbol in kept if (answer := one(market, symbol, now)) is not None]
    if params.text("symbol") is None:
        return answers
    if status is not None and not kept:
        raise errors.ApiError(-1220, "The symbol's status does not match the requested symbolStatus.")
    if not answers:
        raise errors.invalid_symbol()
    return answers[0]


def book_ticker(market: Market, symbol: str, now: int) -> dict[str, Any] | None:
    """Best bid and ask."""
    price = market.last_price(symbol, now)
    if price is None:
        return None
    _, bid, bid_size, ask, ask_size = _top(market.source.spec(symbol), price, now)
    return {
        "symbol": symbol,
        "bidPrice": text(bid),
        "bidQty": bid_size,
        "askPrice": text(ask),
        "askQty": ask_size,
    }


def price(market: Market, symbol: str, now: int) -> dict[str, Any] | None:
    """Newest trade price."""
    last = market.last_price(symbol, now)
    return None if last is None else {"symbol": symbol, "price": text(last)}


def day_statistics(market: Market, symbol: str, now: int) -> dict[str, Any] | None:
    """Rolling 24 hours, by whole minutes."""
    table = market.minutes(symbol, now - 1440 * MINUTE_MS, now, now, market.halts)
    if not len(table):
        return None
    first, last = int(table[0, OPEN]), int(table[-1, CLOSE])
    volume, quote = int(table[:, VOLUME].sum()), int(table[:, QUOTE].sum())
    _, bid, bid_size, ask, ask_size = _top(market.source.spec(symbol), last, now)
    sign = "-" if last < first else ""
    return {
        "symbol": symbol,
        "priceChange": sign + text(abs(last - first)),
        "priceChangePercent": f"{(last - first) / first * 100:.3f}",
        "weightedAvgPrice": text(quote * E8 // volume if volume else 0),
        "prevClosePrice": text(first),
        "lastPrice": text(last),
        "lastQty": text(market.source.spec(symbol).lot),
        "bidPrice": text(bid),
        "bidQty": bid_size,
        "askPrice": text(ask),
        "askQty": ask_size,
        "openPrice": text(first),
        "highPrice": text(int(table[:, HIGH].max())),
        "lowPrice": text(int(table[:, LOW].min())),
        "volume": text(volume),
        "quoteVolume": text(quote),
        "openTime": int(table[0, OPEN_TIME]),
        "closeTime": now,
        "firstId": 0,
        "lastId": 0,
        "count": int(table[:, TRADES].sum()),
    }


def average_price(query: Mapping[str, str], market: Market, clock: MarketClock) -> dict[str, Any]:
    """Volume-weighted price of the last five minutes. Raises ApiError."""
    symbol = Params(query, ("symbol",)).symbol()
    if symbol not in market.symbols:
        raise errors.invalid_symbol()
    now = clock.now_ms()
    table = market.minutes(symbol, now - 5 * MINUTE_MS, now, now, market.halts)
    volume = int(table[:, VOLUME].sum())
    mean = int(table[:, QUOTE].sum()) * E8 // volume if volume else market.last_price(symbol, now) or 0
    return {"mins": 5, "price": text(mean), "closeTime": now}


def depth(query: Mapping[str, str], market: Market, clock: MarketClock) -> dict[str, Any]:
    """A book of `limit` levels, one tick apart. Raises ApiError."""
    params = Params(query, ("symbol", "limit", "symbolStatus"))
    symbol, limit = params.symbol(), params.limit(100, 5000)
    if symbol not in market.symbols:
        raise errors.invalid_symbol()
    now = clock.now_ms()
    last = market.last_price(symbol, now)
    spec = market.source.spec(symbol)
    if last is None:
        return {"lastUpdateId": 0, "bids": [], "asks": []}
    update, bid, bid_size, ask, ask_size = _top(spec, last, now)
    bids = [[text(bid - step * spec.tick), bid_size] for step in range(limit) if bid > step * spec.tick]
    asks = [[text(ask + step * spec.tick), ask_size] for step in range(limit)]
    return {"lastUpdateId": update, "bids": bids, "asks": asks}


def _top(spec: SymbolSpec, price: int, now: int) -> Top:
    return top_of_book(spec, order_sizes(spec), price, now)

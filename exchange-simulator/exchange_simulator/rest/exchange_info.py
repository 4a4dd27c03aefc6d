"""`/api/v3/exchangeInfo`: limits, and each instrument with its filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exchange_simulator.clock import MarketClock
from exchange_simulator.decimals import E8, text
from exchange_simulator.market import Market
from exchange_simulator.rest import errors
from exchange_simulator.rest.params import Params
from exchange_simulator.rows import DAY_MS, MINUTE_MS
from exchange_simulator.symbols import SymbolSpec

_KNOWN: Final = ("symbol", "symbols", "permissions", "symbolStatus", "showPermissionSets")
STATUSES: Final = ("TRADING", "HALT", "BREAK", "END_OF_DAY", "CANCEL_ONLY")
_ORDER_TYPES: Final = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip


def exchange_info(
    query: Mapping[str, str], market: Market, clock: MarketClock, weight_limit: int, microseconds: bool
) -> dict[str, Any]:
    """The answer. Raises ApiError."""
    params = Params(query, _KNOWN)
    one, several = params.text("symbol"), params.symbols()
    wanted_status = params.text("symbolStatus")
    if (one is not None and several is not None) or (wanted_status and (one or several)):
        raise errors.combination()
    if wanted_status is not None and wanted_status not in STATUSES:
        raise errors.ApiError(-1122, "Invalid symbolStatus.")
    chosen = [params.symbol()] if one is not None else several or list(market.symbols)
    if any(symbol not in market.symbols for symbol in chosen):
        raise errors.invalid_symbol()
    now = clock.now_ms()
    sets = params.text("showPermissionSets") != "false"
    symbols = [
        describe(market.source.spec(symbol), status_of(market, symbol, now), sets) for symbol in chosen
    ]
    return {
        "timezone": "UTC",
        "serverTime": now * 1000 if microseconds else now,
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            _limit("ORDERS", "SECOND", 10, 100),
            _limit("ORDERS", "DAY", 1, 200_000),
            _limit("RAW_REQUESTS", "MINUTE", 5, 300_000),
        ],
        "exchangeFilters": [],
        "symbols": [entry for entry in symbols if wanted_status in (None, entry["status"])],
    }


def status_of(market: Market, symbol: str, now_ms: int) -> str:
    """HALT in a minute without a candle between the first and the last day, TRADING otherwise."""
    source = market.source
    last = source.last_day(symbol)
    inside = source.first_day(symbol) * DAY_MS <= now_ms
    inside = inside and (last is None or now_ms < (last + 1) * DAY_MS)
    if inside and market.place(symbol, now_ms // MINUTE_MS * MINUTE_MS) is None:
        return "HALT"
    return "TRADING"


def describe(spec: SymbolSpec, status: str, permission_sets: bool) -> dict[str, Any]:
    """One element of `symbols`, in Binance's full shape."""
    return {
        "symbol": spec.symbol,
        "status": status,
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(spec),
        "permissions": [],
        "permissionSets": [["SPOT"]] if permission_sets else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _filters(spec: SymbolSpec) -> list[dict[str, Any]]:
    tick, lot = text(spec.tick), text(spec.lot)
    highest = text(10**9 * max(spec.tick, 1))
    most = text(9 * 10**9 * E8 if spec.lot > 10**5 else 9000 * E8)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": highest, "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": most, "stepSize": lot},
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": most, "stepSize": "0.00000000"},
        {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
         "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
        {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
         "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
         "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]  # fmt: skip


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}

"""What an instrument is: its assets, price step, lot step and, for seeded data, its temper."""

from __future__ import annotations

import hashlib
import math
from typing import Final, NamedTuple

from exchange_simulator.decimals import E8

QUOTES: Final = (
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "TRY", "EUR", "BRL", "JPY", "USD",
)  # fmt: skip


class SymbolSpec(NamedTuple):
    """An instrument. ``tick`` and ``lot`` are in units of 1e-8 of quote and base asset.

    ``level`` is the price seeded data keeps returning to, ``beta`` and ``sigma`` its daily
    sensitivity to the market and its own daily volatility, ``turnover`` its mean quote volume a
    minute and ``trades`` its mean number of trades a day.
    """

    symbol: str
    base: str
    quote: str
    tick: int
    lot: int
    salt: int
    level: float
    beta: float
    sigma: float
    turnover: float
    trades: float


# level, tick, lot, beta, own daily sigma, quote volume a minute, trades a day
_KNOWN: Final[dict[str, tuple[float, str, str, float, float, float, float]]] = {
    "BTCUSDT": (78_000, "0.01", "0.00001", 1.0, 0.002, 1_300_000, 2_600_000),
    "ETHUSDT": (3_100, "0.01", "0.0001", 1.15, 0.012, 900_000, 1_900_000),
    "SOLUSDT": (165, "0.01", "0.001", 1.3, 0.020, 380_000, 900_000),
    "BNBUSDT": (720, "0.01", "0.001", 0.8, 0.012, 160_000, 500_000),
    "XRPUSDT": (2.2, "0.0001", "0.1", 1.1, 0.020, 300_000, 600_000),
    "DOGEUSDT": (0.21, "0.00001", "1", 1.3, 0.022, 190_000, 450_000),
    "ADAUSDT": (0.75, "0.0001", "0.1", 1.2, 0.020, 80_000, 250_000),
    "TRXUSDT": (0.31, "0.0001", "0.1", 0.4, 0.012, 55_000, 180_000),
    "AVAXUSDT": (24, "0.01", "0.01", 1.3, 0.022, 45_000, 160_000),
    "LINKUSDT": (17, "0.01", "0.01", 1.2, 0.022, 50_000, 170_000),
    "LTCUSDT": (105, "0.01", "0.001", 0.9, 0.016, 35_000, 130_000),
    "DOTUSDT": (4.1, "0.001", "0.01", 1.2, 0.020, 25_000, 110_000),
    "ETHBTC": (0.0397, "0.00001", "0.0001", 0.15, 0.010, 1.2, 60_000),
}


def spec_of(symbol: str) -> SymbolSpec:
    """The instrument's properties: a table for the well known, a hash of the name for the rest."""
    base, quote = assets(symbol)
    digest = hashlib.blake2b(symbol.encode(), digest_size=16).digest()
    salt = int.from_bytes(digest[:4], "big")
    known = _KNOWN.get(symbol)
    if known:
        level, tick, lot, beta, sigma, turnover, trades = known
        return SymbolSpec(
            symbol, base, quote, round(float(tick) * E8), round(float(lot) * E8), salt,
            level, beta, sigma, turnover, trades,
        )  # fmt: skip
    u = [byte / 255 for byte in digest[4:9]]
    level = 10 ** (-2 + 4.5 * u[0])
    digits = math.floor(math.log10(level))
    turnover = 10 ** (3 + 2 * u[1])
    trades = 10 ** (3.9 + 1.4 * u[1])
    return SymbolSpec(
        symbol, base, quote, max(1, 10 ** (digits - 4 + 8)), max(1, 10 ** (4 - digits)), salt,
        level, 0.7 + 0.8 * u[2], 0.015 + 0.02 * u[3], turnover, trades,
    )  # fmt: skip


def assets(symbol: str) -> tuple[str, str]:
    """Base and quote asset of a symbol's name; an unknown quote counts as the last three letters."""
    for quote in QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol[:-3] or symbol, symbol[-3:]

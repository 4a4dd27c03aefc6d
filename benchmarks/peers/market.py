"""What the exchange of the live comparison sends: candles made up by a formula, so that everyone can say what
is right. Standard library only; pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

T0: Final = 1_679_616_000_000
"""Open of the first minute, Unix ms."""
MINUTE_MS: Final = 60_000
AGAIN: Final = 10
LOST: Final = 15


class Row(NamedTuple):
    """What every program has to have of a candle. ``time`` is its open, Unix ms."""

    symbol: str
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Market:
    """``minutes`` final candles of each of ``symbols`` symbols, a minute of all after another; ``rate``
    sendings a second, 0 for as fast as they are taken. A peer's own limit is 200 streams a connection: keep
    to one.
    """

    symbols: int = 100
    minutes: int = 500
    rate: float = 0.0
    troubled: bool = False
    """As a real stream is: all symbols of a minute at once, each candle first as it was while open; every
    tenth minute the final frames of the one before come again, as after a reconnection; minute ``LOST`` never
    comes.
    """

    @property
    def names(self) -> list[str]:
        """The symbols."""
        return [f"S{number:03d}USDT" for number in range(self.symbols)]

    @property
    def candles(self) -> int:
        """How many are sent."""
        return self.symbols * self.minutes

    def bursts(self) -> Iterator[list[str]]:
        """Yield the frames in the order they are sent, those together that are sent at once."""
        for minute in range(self.minutes):
            candles = [row(name, minute) for name in self.names]
            if not self.troubled:
                yield from ([kline(candle)] for candle in candles)
            elif minute != LOST:
                before = minute - 1 if minute % AGAIN == 0 else minute
                yield [
                    *(
                        kline(candle._replace(close=candle.open, volume=1.0), final=False)
                        for candle in candles
                    ),
                    *(kline(row(name, before)) for name in self.names if 0 <= before < minute),
                    *map(kline, candles),
                ]

    def rows(self) -> list[Row]:
        """Return every candle there was, in order."""
        return [row(name, minute) for minute in range(self.minutes) for name in self.names]


def row(symbol: str, minute: int) -> Row:
    """Return the candle of a minute counted from ``T0``."""
    cents = (minute * 7 + int(symbol[1:4])) % 1000
    opened = (7_642_107 + cents) / 100
    closed = (7_640_836 + cents) / 100
    return Row(symbol, T0 + minute * MINUTE_MS, opened, opened + 1, closed - 1, closed, 2.62202)


def kline(candle: Row, *, final: bool = True) -> str:
    """Return a frame of a candle as the exchange's combined stream has it."""
    k = {
        "t": candle.time, "T": candle.time + MINUTE_MS - 1, "s": candle.symbol, "i": "1m", "f": 7130470413,
        "L": 7130471247, "o": f"{candle.open:.8f}", "c": f"{candle.close:.8f}", "h": f"{candle.high:.8f}",
        "l": f"{candle.low:.8f}", "v": f"{candle.volume:.8f}", "n": 835, "x": final, "q": "200365.91000000",
        "V": "1.10000000", "Q": "84055.10000000", "B": "0",
    }  # fmt: skip
    pushed = candle.time + (MINUTE_MS + 19 if final else MINUTE_MS // 2)
    data = {"e": "kline", "E": pushed, "s": candle.symbol, "k": k}
    stream = f"{candle.symbol.lower()}@kline_1m"
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":"))


def exchange_info(symbols: list[str]) -> str:
    """Return as much of ``/api/v3/exchangeInfo`` as a client's list of symbols needs."""
    listed = [
        {
            "symbol": name, "status": "TRADING", "baseAsset": name.removesuffix("USDT"), "quoteAsset": "USDT",
            "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.01000000"}],
        }
        for name in symbols
    ]  # fmt: skip
    return json.dumps({"timezone": "UTC", "serverTime": T0, "rateLimits": [], "symbols": listed})

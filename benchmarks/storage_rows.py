"""Months of seeded candles, books and features as binary COPY, in the order in which a feeder writes them."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exchange_simulator.rows import CLOSE, HIGH, LOW, OPEN, QUOTE, TAKER, TAKER_QUOTE, TRADES, VOLUME
from exchange_simulator.source.seeded import SeededSource
from marketdata.copyframe import HEADER, POSTGRES_EPOCH_MS, TRAILER
from marketdata.database import Connection
from marketdata.features.registry import FEATURE_VERSION, NAMES
from marketdata.models import MINUTE_MS

DAY_MS: Final = 86_400_000
MINUTES: Final = 1440
_E8: Final = 1e8
_FLOAT8: Final = 701
_NUMBERS: Final = {
    "open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE, "volume": VOLUME, "quote_volume": QUOTE,
    "trades": TRADES, "taker_buy_volume": TAKER, "taker_buy_quote_volume": TAKER_QUOTE,
}  # fmt: skip
_BOOK: Final = ("bid", "bid_size", "ask", "ask_size", "spread_bps", "imbalance")

Field: TypeAlias = tuple[str, str]
Records: TypeAlias = NDArray[np.void]


def _layout(fields: Sequence[Field]) -> np.dtype[Any]:
    """Return one row of binary COPY: the number of its fields, and each with its length in front."""
    return np.dtype(
        [("fields", ">i2")] + [f for name, of in fields for f in ((f"#{name}", ">i4"), (name, of))]
    )


def _label(records: Records, fields: Sequence[Field]) -> None:
    records["fields"] = len(fields)
    for name, _ in fields:
        records[f"#{name}"] = records.dtype[name].itemsize


def _instant(milliseconds: Any) -> Any:
    return (milliseconds - POSTGRES_EPOCH_MS) * 1000


class Rows:
    """A market of ``symbols`` by the day, 1440 minutes each, always the same.

    Prices, amounts and trade counts are the exchange simulator's seeded ones, with an exchange's ticks and
    lots, so that they are as hard to compress as real ones.
    """

    def __init__(self, symbols: Sequence[str], first_day: int) -> None:
        self.symbols: Final = sorted(symbols)
        self.source: Final = SeededSource(7, tuple(self.symbols), first_day)

    def _day(self, fields: Sequence[Field]) -> Records:
        """Return a day of empty rows, minute by minute and in a minute symbol by symbol."""
        kinds = {symbol: [("symbol", f"S{len(symbol)}"), ("time", ">i8"), *fields] for symbol in self.symbols}
        records = np.zeros(MINUTES, np.dtype([(symbol, _layout(kind)) for symbol, kind in kinds.items()]))
        for symbol, kind in kinds.items():
            _label(records[symbol], kind)
            records[symbol]["symbol"] = symbol.encode()
        return records

    def candles(self, day: int, source: str) -> bytes:
        """Return ``candles_1m`` of a day (since 1970): known some ms after each close, or all at once."""
        fields = [(name, ">i8" if name == "trades" else ">f8") for name in _NUMBERS]
        records = self._day([*fields, ("source", f"S{len(source)}"), ("known_at", ">i8")])
        open_ms = day * DAY_MS + np.arange(MINUTES) * MINUTE_MS
        for symbol in self.symbols:
            made = self.source.day(symbol, day)
            if made is None:
                raise ValueError(f"no seeded day {day} of {symbol}")
            rows = records[symbol]
            for name, column in _NUMBERS.items():
                # The nearest double of the decimal that the exchange would have sent.
                rows[name] = made.table[:, column] if name == "trades" else made.table[:, column] / _E8
            rows["time"], rows["source"] = _instant(open_ms), source.encode()
            rows["known_at"] = _instant(
                open_ms + MINUTE_MS + self._random(symbol, day).integers(15, 90, MINUTES)
                if source == "stream"
                else np.int64((day + 1) * DAY_MS)
            )
        return records.tobytes()

    def books(self, day: int) -> bytes:
        """Return ``book_ticker_1m`` of a day: quotes a tick apart at the close, sizes in lots."""
        records = self._day([*((name, ">f8") for name in _BOOK), ("updates", ">i8"), ("known_at", ">i8")])
        open_ms = day * DAY_MS + np.arange(MINUTES) * MINUTE_MS
        for symbol in self.symbols:
            made, spec = self.source.day(symbol, day), self.source.spec(symbol)
            assert made is not None
            random, rows = self._random(symbol, day), records[symbol]
            bid = made.table[:, CLOSE] - spec.tick * random.integers(0, 2, MINUTES)
            ask = bid + spec.tick
            rows["bid"], rows["ask"] = bid / _E8, ask / _E8
            for name in ("bid_size", "ask_size"):
                rows[name] = random.integers(1, 500_000, MINUTES) * spec.lot / _E8
            rows["spread_bps"] = 20_000 * spec.tick / (bid + ask) * random.uniform(1, 3, MINUTES)
            rows["imbalance"] = random.uniform(-1, 1, MINUTES)
            rows["updates"] = random.integers(50, 6000, MINUTES)
            rows["time"], rows["known_at"] = _instant(open_ms), _instant(open_ms + MINUTE_MS)
        return records.tobytes()

    def features(self, day: int) -> bytes:
        """Return ``feature_values`` of a day: as many numbers a row as the registry has."""
        array = np.dtype([("head", ">i4", 5), ("item", [("#", ">i4"), ("value", ">f8")], len(NAMES))])
        records = self._day(
            [("version", ">i4"), ("values", array), ("coverage", ">f8"), ("known_at", ">i8")]  # type: ignore[list-item]
        )
        closes = day * DAY_MS + (np.arange(MINUTES) + 1) * MINUTE_MS
        for symbol in self.symbols:
            random, rows = self._random(symbol, day), records[symbol]
            rows["time"], rows["known_at"] = _instant(closes), _instant(closes + 100)
            rows["version"], rows["coverage"] = FEATURE_VERSION, 1.0
            # Dimensions, has nulls, the element's type, length, lower bound.
            rows["values"]["head"] = (1, 0, _FLOAT8, len(NAMES), 1)
            rows["values"]["item"]["#"] = 8
            rows["values"]["item"]["value"] = random.normal(0, 1, (MINUTES, len(NAMES)))
        return records.tobytes()

    def _random(self, symbol: str, day: int) -> np.random.Generator:
        return np.random.default_rng((zlib.crc32(symbol.encode()), day))


async def copy(connection: Connection, table: str, body: bytes) -> None:
    """Send rows into ``table``."""

    async def stream() -> AsyncIterator[bytes]:
        yield HEADER
        for start in range(0, len(body), 1 << 20):
            yield body[start : start + (1 << 20)]
        yield TRAILER

    await connection.copy_to_table(table, source=stream(), format="binary")

"""What a source of market data offers: whole days of 1-minute candles, by symbol."""

from __future__ import annotations

from typing import Protocol

from exchange_simulator.rows import Ints, Row, Table
from exchange_simulator.symbols import SymbolSpec


class Day(Protocol):
    """The candles of one symbol and one UTC day, by position (rows that exist, oldest first)."""

    @property
    def table(self) -> Table:
        """All rows as integers, see :data:`exchange_simulator.rows.Table`."""
        ...

    def position(self, minute: int) -> int | None:
        """Position of the candle of ``minute`` (0..1439), None where there is no row."""
        ...

    def row(self, position: int) -> Row:
        """The candle spelled exactly as the source spells it."""
        ...

    def ints(self, position: int) -> Ints:
        """The candle as integers."""
        ...

    def first_trade_id(self, position: int) -> int:
        """Id of the first trade at or after this candle; ids run on from day to day."""
        ...


class Source(Protocol):
    """Candles by symbol and day. Days are counted from 1970-01-01 (UTC)."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments on offer, upper case."""
        ...

    @property
    def irregular(self) -> bool:
        """True when a candle may end before its minute does."""
        ...

    def spec(self, symbol: str) -> SymbolSpec:
        """Properties of an instrument."""
        ...

    def first_day(self, symbol: str) -> int:
        """First day with data."""
        ...

    def last_day(self, symbol: str) -> int | None:
        """Last day with data; None when it has no end."""
        ...

    def day(self, symbol: str, day: int) -> Day | None:
        """The day's candles, None when there is nothing."""
        ...

    def archive(self, symbol: str, day: int) -> bytes | None:
        """The daily 1m zip as it was published, None when it has to be made."""
        ...

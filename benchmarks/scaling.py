"""The arithmetic of docs/scaling.md: from measured constants to n exchanges x m symbols.

``python -m benchmarks.scaling`` writes the tables into the document; a test keeps them true. A constant that
nobody has measured yet is None, and everything that follows from it reads TO MEASURE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
UNKNOWN: Final = "TO MEASURE"
MINUTES_A_DAY: Final = 1440
HISTORY_DAYS: Final = 395
FEATURE_DAYS: Final = 31


@dataclass(frozen=True)
class Constant:
    """A number with its unit and where it comes from: a measurement, the exchange's rule, or the code."""

    name: str
    value: float | None
    unit: str
    source: str

    @property
    def text(self) -> str:
        """Its cell in the table."""
        return UNKNOWN if self.value is None else f"{self.value:,g}"


CONSTANTS: Final[dict[str, Constant]] = {
    "candle_plain": Constant("a candle, plain, with its indexes", 199, "bytes", "`benchmarks/storage.py`"),
    "candle_column": Constant("a candle in the columnstore", 61, "bytes", "`benchmarks/storage.py`"),
    "feature": Constant("a feature row, with its indexes", 820, "bytes", "`benchmarks/storage.py`"),
    "book_plain": Constant(
        "a minute of quotes, plain, with its indexes", 174, "bytes", "`benchmarks/storage.py`"
    ),
    "book_column": Constant("a minute of quotes in the columnstore", 47, "bytes", "`benchmarks/storage.py`"),
    "wal": Constant(
        "WAL of one live minute of a symbol: candle, quotes and feature row",
        1300,
        "bytes",
        "`benchmarks/storage.py`",
    ),
    "row_cpu": Constant(
        "CPU of a symbol's minute: quotes, candle and feature row",
        1.2,
        "ms",
        "`benchmarks/market_minute.py`",
    ),
    "feeder_symbols": Constant(
        "symbols whose rows one feeder has within a second of the last frame",
        1500,
        "",
        "`benchmarks/market_minute.py`",
    ),
    "frames": Constant("frames one feeder commits", 26000, "a second", "`benchmarks/stream.py`"),
    "archive_rows": Constant(
        "candles one gap-handler takes from archives", 112000, "a second", "`benchmarks/history.py`"
    ),
    "feeder_base": Constant("resident memory of a feeder with 3 symbols", 74, "MB", "`benchmarks/memory.py`"),
    "feeder_symbol": Constant(
        "resident memory of a further symbol", 0.13, "MB", "`benchmarks/market_minute.py`, 1,500 symbols"
    ),
    "streams": Constant("streams a connection", 1024, "", "Binance's rule"),
    "symbol_streams": Constant("streams a symbol", 2, "", "kline, bookTicker"),
    "attempts": Constant("connection attempts of an IP in 5 minutes", 300, "", "Binance's rule"),
    "weight": Constant("request weight of an IP", 6000, "a minute", "Binance's rule"),
    "klines_weight": Constant("weight of a klines request", 2, "", "Binance's rule"),
    "klines_rows": Constant("candles of a klines request", 1000, "", "Binance's rule"),
    "requests": Constant("requests of all gap-handlers of an IP", 10, "a second", "ours"),
    "feeder_connections": Constant(
        "database connections of a feeder", 3, "", "writer, features, audit (while it runs)"
    ),
    "handler_connections": Constant(
        "database connections of a gap-handler, at most", 16, "", "`MAX_CONCURRENT_BACKFILLS` + 11"
    ),
}


@dataclass(frozen=True)
class Case:
    """So many exchanges with so many symbols each."""

    exchanges: int
    symbols: int

    @property
    def all(self) -> int:
        """Symbols of all exchanges."""
        return self.exchanges * self.symbols

    @property
    def name(self) -> str:
        """Its column's head."""
        return f"{self.exchanges} x {self.symbols:,}"


CASES: Final = (Case(1, 3), Case(1, 500), Case(1, 2000), Case(10, 2000))


def value(name: str) -> float:
    """A constant. Raises ``LookupError`` where it is not measured yet."""
    found = CONSTANTS[name].value
    if found is None:
        raise LookupError(name)
    return found


def count(number: float) -> str:
    """A number for people: whole below ten thousand, then in thousands, millions and billions."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{number / size:,.1f}{word}"
    if 0 < number < 0.01:
        return "under 0.01"
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"


def size(number: float) -> str:
    """Bytes for people, in powers of ten."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number / 1e3:,.1f} kB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.0f} s"


def sockets(symbols: int) -> int:
    """Stream connections of one exchange: both streams of a symbol on one."""
    return math.ceil(symbols / (value("streams") // value("symbol_streams")))


def kept(case: Case, form: str) -> float:
    """Bytes of 13 months of candles and quotes and a month of feature rows, ``plain`` or ``column``."""
    history = value(f"candle_{form}") + value(f"book_{form}")
    days = HISTORY_DAYS * history + FEATURE_DAYS * value("feature")
    return case.all * MINUTES_A_DAY * days


def first_fill_requests(symbols: int) -> int:
    """REST requests for the whole history of ``symbols``."""
    return symbols * math.ceil(HISTORY_DAYS * MINUTES_A_DAY / value("klines_rows"))


def shards(case: Case) -> int:
    """Feeders: rows are wanted within a second of the minute's last frame."""
    return case.exchanges * math.ceil(case.symbols / value("feeder_symbols"))


def memory(case: Case) -> float:
    """Resident bytes of all feeders."""
    per = value("feeder_base") + max(0.0, case.all / shards(case) - 3) * value("feeder_symbol")
    return shards(case) * per * 1e6


def connections(case: Case) -> float:
    """Connections to the database: all feeders and a gap-handler for each exchange."""
    return shards(case) * value("feeder_connections") + case.exchanges * value("handler_connections")


Row = tuple[str, Callable[[Case], str]]
ROWS: Final[tuple[Row, ...]] = (
    ("symbols", lambda c: count(c.all)),
    ("candles a day (as many feature rows, and minutes of quotes)", lambda c: count(c.all * MINUTES_A_DAY)),
    ("rows committed a minute, all three kinds", lambda c: count(3 * c.all)),
    ("candles in 13 months", lambda c: count(c.all * MINUTES_A_DAY * HISTORY_DAYS)),
    ("feature rows in a month", lambda c: count(c.all * MINUTES_A_DAY * FEATURE_DAYS)),
    (
        "bytes a day, plain",
        lambda c: size(
            c.all * MINUTES_A_DAY * (value("candle_plain") + value("book_plain") + value("feature"))
        ),
    ),
    ("bytes kept, plain", lambda c: size(kept(c, "plain"))),
    ("bytes kept, candles and quotes in the columnstore", lambda c: size(kept(c, "column"))),
    ("WAL a day", lambda c: size(c.all * MINUTES_A_DAY * value("wal"))),
    ("streams", lambda c: count(c.all * value("symbol_streams"))),
    ("sockets to exchanges", lambda c: count(c.exchanges * sockets(c.symbols))),
    (
        "share of an IP's connection attempts, all sockets anew at once",
        lambda c: f"{sockets(c.symbols) / value('attempts'):.1%}",
    ),
    ("first fill by REST: requests an exchange", lambda c: count(first_fill_requests(c.symbols))),
    (
        "first fill by REST: time, an IP for each exchange",
        lambda c: duration(first_fill_requests(c.symbols) / value("requests")),
    ),
    (
        "weight meanwhile, of the limit",
        lambda c: f"{value('requests') * 60 * value('klines_weight') / value('weight'):.0%}",
    ),
    (
        "first fill from archives: time, a gap-handler for each exchange",
        lambda c: duration(c.symbols * MINUTES_A_DAY * HISTORY_DAYS / value("archive_rows")),
    ),
    ("cores of all feeders, on the average", lambda c: count(c.all * value("row_cpu") / 1000 / 60)),
    ("shards", lambda c: count(shards(c))),
    ("memory of all feeders", lambda c: size(memory(c))),
    ("connections to the database", lambda c: count(connections(c))),
)


def _cell(of: Callable[[Case], str], case: Case) -> str:
    try:
        return of(case)
    except LookupError:
        return UNKNOWN


def constants_table(constants: Sequence[Constant] = tuple(CONSTANTS.values())) -> str:
    """The table of constants."""
    rows = "\n".join(f"| {c.name} | {c.text} | {c.unit} | {c.source} |" for c in constants)
    return f"| constant | value | unit | from |\n|---|---|---|---|\n{rows}\n"


def arithmetic_table() -> str:
    """The table of what follows from them."""
    rows = "\n".join(
        f"| {name} | " + " | ".join(_cell(of, case) for case in CASES) + " |" for name, of in ROWS
    )
    heads = " | ".join(case.name for case in CASES)
    return f"| exchanges x symbols | {heads} |\n|---|{'---|' * len(CASES)}\n{rows}\n"


def written(document: str) -> str:
    """The document with both tables made anew, between their marks."""
    for mark, table in (("constants", constants_table()), ("arithmetic", arithmetic_table())):
        before, rest = document.split(f"<!-- {mark} -->\n", 1)
        after = rest.split(f"<!-- /{mark} -->\n", 1)[1]
        document = f"{before}<!-- {mark} -->\n{table}<!-- /{mark} -->\n{after}"
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

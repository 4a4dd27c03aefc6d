"""Thirteen months of fifty symbols: bytes, queries and a live minute (``python -m benchmarks.storage``).

Sizes: the columnstore beside the same rows as a plain table with its indexes, by the week; by the column;
other tables' rows, WAL, repairs and jobs in ``facts``. Queries: the server's own time, planning and sending
included. A live minute: all symbols' candles and feature rows, on the filled database in turns with an empty
one. All of it needs TimescaleDB's community edition in TEST_DATABASE_URL; elsewhere only queries and minutes
are measured, on a month of three symbols. Rows are the exchange simulator's (``storage_rows``).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import zlib
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.harness import Curve, Options, Report, Result, Target
from benchmarks.report import main
from benchmarks.server import described, fresh_database
from benchmarks.storage_rows import DAY_MS, Rows, copy
from marketdata import database as db
from marketdata.database import Connection
from marketdata.features.engine import Result as FeatureRows
from marketdata.features.registry import NAMES
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.store import candles, features

END: Final = 20_247
"""2025-06-08: the fourth day of a chunk, so that the plain part is ten days, as it is on the average."""
HISTORY: Final = (5, 9, 18, 35, 57)
"""Weeks at which growth is looked at: 1, 2, 4, 8 and 13 months."""
FEATURE_DAYS: Final = 30
SIZE: Final = Target("<=", 0.40)
QUERY: Final = Target("<=", 5.0)
MINUTE: Final = Target("<=", 1.25)
_COINS: Final = (
    "BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "TRX", "AVAX", "LINK", "LTC", "DOT", "BCH", "UNI",
    "ATOM", "ETC", "XLM", "FIL", "APT", "ARB", "OP", "NEAR", "INJ", "SUI", "SEI", "TIA", "AAVE", "MKR",
    "ALGO", "VET", "ICP", "HBAR", "GRT", "SAND", "MANA", "AXS", "THETA", "EOS", "XTZ", "CHZ", "CRV", "LDO",
    "RUNE", "SNX", "DYDX", "GALA", "PEPE", "SHIB", "WIF", "FET",
)  # fmt: skip
_LATEST: Final = "latest row of a symbol"
_DAY: Final = "a recent day of a symbol"
_OLD_DAY: Final = "a day of a symbol, oldest week"
_QUERIES: Final[dict[str, tuple[str, Target | None]]] = {
    _LATEST: ("SELECT * FROM candles_1m WHERE symbol = '{symbol}' ORDER BY time DESC LIMIT 1", QUERY),
    "latest row of a symbol, bounded in time": (
        "SELECT * FROM candles_1m WHERE symbol = '{symbol}'"
        " AND time > '{end}'::timestamptz - interval '10 minutes' ORDER BY time DESC LIMIT 1",
        QUERY,
    ),
    "newest 5 of all": ("SELECT time, close FROM candles_1m ORDER BY time DESC LIMIT 5", QUERY),
    "latest row of every symbol": (
        "SELECT DISTINCT ON (symbol) * FROM candles_1m"
        " WHERE time > '{end}'::timestamptz - interval '10 minutes' ORDER BY symbol, time DESC",
        QUERY,
    ),
    _DAY: (
        "SELECT * FROM candles_1m WHERE symbol = '{symbol}'"
        " AND time >= '{end}'::timestamptz - interval '1 day' AND time < '{end}'",
        QUERY,
    ),
    _OLD_DAY: (
        "SELECT * FROM candles_1m WHERE symbol = '{symbol}' AND time >= '{old}'"
        " AND time < '{old}'::timestamptz + interval '1 day'",
        QUERY,
    ),
    "newest feature_cache row of a symbol": (
        "SELECT * FROM feature_cache WHERE symbol = '{symbol}' ORDER BY time DESC LIMIT 1",
        QUERY,
    ),
    "candle_coverage of a symbol, a week": (
        "SELECT * FROM candle_coverage('{symbol}', '{end}'::timestamptz - interval '7 days', '{end}')",
        None,
    ),
    "candle_coverage of a symbol, all": (
        "SELECT * FROM candle_coverage('{symbol}', '-infinity', '{end}')",
        None,
    ),
}
_COMPRESSED: Final = (
    "SELECT s.compress_relid::regclass::text FROM _timescaledb_catalog.compression_settings AS s"
    " JOIN show_chunks($1::text::regclass) AS c ON s.relid = c WHERE s.compress_relid IS NOT NULL"
)
_CHUNKS: Final = (
    "FROM show_chunks('candles_1m', newer_than => $1::timestamptz, older_than => $2::timestamptz) AS c"
)


def progress(text: str) -> None:
    """Say on stderr how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass
class Weeks:
    """Bytes a row of each week's chunk, and seconds of its compression."""

    plain: list[float] = field(default_factory=list)
    rebuilt: list[float] = field(default_factory=list)
    columnar: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


async def whole(connection: Connection, table: str) -> int:
    """Return all bytes of a hypertable: chunks, columnstore, indexes, TOAST."""
    return int(await connection.fetchval("SELECT hypertable_size($1::text::regclass)", table))


async def load_week(connection: Connection, rows: Rows, first: int, weeks: Weeks, columnar: bool) -> None:
    """Write seven days, by the minute as a feeder does, and compress those that are a week old at the end."""
    days = range(first, min(first + 7, END))
    if not columnar:
        for day in days:
            await copy(connection, "candles_1m", rows.candles(day, "stream"))
        return
    before, count = await whole(connection, "candles_1m"), len(days) * 1440 * len(rows.symbols)
    for day in days:
        await copy(connection, "candles_1m", rows.candles(day, "stream"))
    if first + 7 > END - 7:
        return
    edges = (first * DAY_MS, (first + 7) * DAY_MS)
    plain = await whole(connection, "candles_1m") - before
    if len(weeks.rebuilt) < 5:
        await connection.execute(
            f"REINDEX TABLE {await connection.fetchval(f'SELECT c::text {_CHUNKS}', *edges)}"
        )
        weeks.rebuilt.append((await whole(connection, "candles_1m") - before) / count)
    started = time.perf_counter()
    await connection.execute(f"SELECT compress_chunk(c) {_CHUNKS}", *edges)
    weeks.seconds.append(time.perf_counter() - started)
    weeks.plain.append(plain / count)
    weeks.columnar.append((await whole(connection, "candles_1m") - before) / count)


async def query(connection: Connection, text: str) -> float:
    """Return the server's milliseconds: planning, execution and the rows' way to the client's buffer."""
    sending = ", SERIALIZE BINARY" if connection.get_server_version().major >= 17 else ""
    told = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF{sending}, FORMAT JSON) {text}")
    plan = json.loads(told)[0]
    return float(plan["Planning Time"] + plan["Execution Time"])


async def ask(connection: Connection, name: str, live: Live, oldest: int, times: int) -> list[float]:
    """Return the milliseconds of a query, of another symbol each time; the first, on cold caches, not."""
    found, symbols = [], live.rows.symbols
    end = f"{np.datetime64(END * 1440 + live.next, 'm')}Z"
    for n in range(times + 1):
        found.append(await query(connection, _QUERIES[name][0].format(
            symbol=symbols[n * 7 % len(symbols)], end=end, old=_instant(oldest + n % 6),
        )))  # fmt: skip
    return found[1:]


def _instant(day: int) -> str:
    return f"{np.datetime64(day, 'D')} 00:00:00Z"


class Live:
    """Minutes after ``END``, written as the feeder does: one write of candles, one of feature rows."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.next = 0

    async def _minute(self, connection: Connection, n: int) -> tuple[float, float]:
        symbols, open_ms = self.rows.symbols, END * DAY_MS + n * MINUTE_MS
        known = open_ms + MINUTE_MS + 50
        heads = [candles.Row(_candle(self.rows, symbol, n), known) for symbol in symbols]
        values = np.random.default_rng(n).normal(0, 1, (len(symbols), len(NAMES)))
        close = np.full(len(symbols), open_ms + MINUTE_MS)
        made = FeatureRows(close, values, np.ones(len(symbols)), np.ones(len(symbols), bool))
        started = time.perf_counter()
        written = await candles.write(connection, heads, source=Source.STREAM, head=True)
        between = time.perf_counter()
        inserted = await features.insert(connection, [(symbols, made)], known_at=known + 10)
        if written.inserted != len(symbols) or inserted != len(symbols):
            raise RuntimeError(f"minute {n} was there already: {written}, {inserted} feature rows")
        return (between - started) * 1000, (time.perf_counter() - between) * 1000

    async def measure(self, filled: Connection, empty: Connection, minutes: int) -> dict[str, list[float]]:
        """Return milliseconds of each minute on both, in turns; of the filled one the WAL's bytes, too."""
        found: dict[str, list[float]] = {
            name: [] for name in ("filled", "empty", "candles", "features", "wal")
        }
        # The first five are planned anew each.
        for n in range(self.next, self.next + minutes + 6):
            for name in ("filled", "empty") if n % 2 else ("empty", "filled"):
                connection = filled if name == "filled" else empty
                before = await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'")
                spent = await self._minute(connection, n)
                wal = await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'") - before
                if n < self.next + 6:
                    continue
                found[name].append(sum(spent))
                if name == "filled":
                    found["candles"].append(spent[0])
                    found["features"].append(spent[1])
                    found["wal"].append(float(wal))
        self.next += minutes + 6
        return found


def _candle(rows: Rows, symbol: str, minute: int) -> Candle:
    day = rows.source.day(symbol, END)
    assert day is not None
    t, o, h, low, c, v, _, q, n, tb, tq = day.table[minute].tolist()
    return Candle(symbol, t, o / 1e8, h / 1e8, low / 1e8, c / 1e8, v / 1e8, q / 1e8, n, tb / 1e8, tq / 1e8)


async def by_column(connection: Connection, table: str, rows: int) -> dict[str, float]:
    """Return the columnstore's bytes a row of each column, and of what is beside the columns' data."""
    found: dict[str, float] = {}
    for record in await connection.fetch(_COMPRESSED, table):
        relation = record[0]
        names = [r[0] for r in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0", relation
        )]  # fmt: skip
        sums = ", ".join(f'sum(pg_column_size("{name}"))' for name in names)
        sizes = await connection.fetchrow(f"SELECT {sums} FROM {relation}")
        assert sizes is not None
        total = await connection.fetchval("SELECT pg_total_relation_size($1::text::regclass)", relation)
        for name, size in zip(names, sizes, strict=True):
            name = "metadata" if name.startswith("_ts_meta") else name
            found[name] = found.get(name, 0) + (size or 0) / rows
        rest = (total - sum(size or 0 for size in sizes)) / rows
        found["pages, TOAST's chunks, indexes"] = found.get("pages, TOAST's chunks, indexes", 0) + rest
    return {name: round(size, 3) for name, size in found.items()}


async def dumped(connection: Connection, text: str, rows: int) -> dict[str, float]:
    """Return bytes a row as pg_dump writes them, plain and as its custom format packs them."""
    packer, sizes = zlib.compressobj(6), [0, 0]

    async def take(data: bytes) -> None:
        sizes[0] += len(data)
        sizes[1] += len(packer.compress(data))

    await connection.copy_from_query(text, output=take)
    sizes[1] += len(packer.flush())
    return {"text": round(sizes[0] / rows, 1), "compressed": round(sizes[1] / rows, 1)}


async def timed(work: Awaitable[Any]) -> float:
    """Return seconds."""
    started = time.perf_counter()
    await work
    return round(time.perf_counter() - started, 3)


async def repair(connection: Connection, rows: Rows, oldest: int) -> dict[str, float]:
    """Correct a day of a symbol in the columnstore, bring it in again, and return bytes and seconds."""
    symbol, found = rows.symbols[0], {"before": float(await whole(connection, "candles_1m"))}
    record = await connection.fetch(
        "SELECT symbol, time, open, high, low, close, volume, quote_volume, trades + 1, taker_buy_volume,"
        " taker_buy_quote_volume FROM candles_1m WHERE symbol = $1 AND time >= $2 AND time < $3",
        symbol, (oldest + 3) * DAY_MS, (oldest + 4) * DAY_MS,
    )  # fmt: skip
    corrected = [candles.Row(Candle(*r), END * DAY_MS) for r in record]
    found["write_s"] = await timed(candles.write(connection, corrected, source=Source.ARCHIVE))
    found["corrected"] = float(await whole(connection, "candles_1m"))
    edges = ((oldest + 3) * DAY_MS, (oldest + 4) * DAY_MS)
    found["recompress_s"] = await timed(
        connection.execute("CALL recompress($1::timestamptz, $2::timestamptz)", *edges)
    )
    return found | {"recompressed": float(await whole(connection, "candles_1m"))}


async def others(connection: Connection, rows: Rows) -> dict[str, Any]:
    """Return what jobs take, and the bytes of the other tables' rows and of a dump."""
    minutes = 1440 * len(rows.symbols)
    found: dict[str, Any] = {}
    for name in ("candles_5m", "candles_1h", "candles_4h", "candles_1d"):
        found[f"refresh {name}, 30 days, s"] = await timed(connection.execute(
            f"CALL refresh_continuous_aggregate('{name}', '{_instant(END - 30)}', '{_instant(END)}')"
        ))  # fmt: skip
    book_days = range(END - END % 7 - 7, END - END % 7)
    for number in book_days:
        await copy(connection, "book_ticker_1m", rows.books(number))
    books = len(book_days) * minutes
    found["book row, plain"] = round(await whole(connection, "book_ticker_1m") / books, 1)
    await connection.execute("SELECT compress_chunk(c) FROM show_chunks('book_ticker_1m') AS c")
    found["book row, columnstore"] = round(await whole(connection, "book_ticker_1m") / books, 1)
    count = await connection.fetchval("SELECT count(*) FROM feature_values")
    found["feature row"] = round(await whole(connection, "feature_values") / count, 1)
    found["features a row"] = len(NAMES)
    day = f"time >= '{_instant(END - 1)}' AND time < '{_instant(END)}'"
    for table in ("candles_1m", "feature_values"):
        text = f"SELECT * FROM {table} WHERE {day}"
        found[f"dump of a row of {table}"] = await dumped(connection, text, minutes)
    relation = await connection.fetchval(f"{_COMPRESSED} ORDER BY s.relid LIMIT 1", "candles_1m")
    held = await connection.fetchval(f"SELECT sum(_ts_meta_count) FROM {relation}")
    found["dump of a row in the columnstore"] = await dumped(connection, f"SELECT * FROM {relation}", held)
    return found


@dataclass
class Growth:
    """What was found at each length of history: (months, values)."""

    size: list[tuple[float, list[float]]] = field(default_factory=list)
    latest: list[tuple[float, list[float]]] = field(default_factory=list)
    day: list[tuple[float, list[float]]] = field(default_factory=list)
    minute: list[tuple[float, list[float]]] = field(default_factory=list)

    def curves(self) -> list[Curve]:
        """Return them as charts."""
        label = "months of history"
        drawn = [
            Curve("bytes of candles", label, "MB", self.size, _slope(self.size, "MB")),
            Curve(_LATEST, label, "ms", self.latest, _slope(self.latest, "ms")),
            Curve("an old day of a symbol", label, "ms", self.day, _slope(self.day, "ms")),
            Curve("live minute, filled / empty", label, "ratio", self.minute, _slope(self.minute, "")),
        ]
        return [curve for curve in drawn if curve.points]


def _slope(points: list[tuple[float, list[float]]], unit: str) -> str:
    if not points:
        return ""
    (first, early), (last, late) = points[0], points[-1]
    a, b = statistics.median(early), statistics.median(late)
    return (
        f"{a:.2f} {unit} at {first:.0f}, {b:.2f} at {last:.0f} months: x{b / a:.2f} for x{last / first:.0f}"
    )


async def measure(options: Options) -> Report:
    """Fill a database from the newest weeks backwards, looking at it on the way."""
    report, growth, weeks = Report(), Growth(), Weeks()
    async with fresh_database() as one, fresh_database() as other:
        filled, empty = await db.connect(one, "bench"), await db.connect(other, "bench")
        kind = await filled.fetchval("SELECT server_kind()")
        columnar, small = kind == "community", options.quick or kind != "community"
        symbols = [f"{coin}USDT" for coin in (_COINS[:3] if small else _COINS)]
        history = HISTORY[:1] if small else HISTORY
        rows = Rows(symbols, END - 7 * (history[-1] + 1))
        live = Live(rows)
        report.facts["server"] = await described(filled)
        if not columnar:
            report.facts["left out"] = (
                f"sizes: this server has no columnstore ({kind}); a month of three symbols"
            )
            progress(report.facts["left out"])
        for connection in (filled, empty):
            await connection.execute(
                "INSERT INTO symbols (symbol, status, history_start) SELECT symbol, 'TRADING', $2"
                " FROM unnest($1::text[]) AS symbol", symbols, (END - 7 * history[-1]) * DAY_MS,
            )  # fmt: skip
            await connection.execute("SELECT advance_market_clock($1)", END * DAY_MS)
        for day in range(END - (3 if options.quick else FEATURE_DAYS), END):
            await copy(filled, "feature_values", rows.features(day))
        await filled.execute("ANALYZE feature_values")
        newest = END - END % 7
        done = 0
        for length in history:
            for week in range(length - 1, done - 1, -1):
                await load_week(filled, rows, newest - 7 * week, weeks, columnar)
            done, oldest = length, newest - 7 * (length - 1)
            await filled.execute("ANALYZE candles_1m")
            months = round((END - oldest) / 30.44, 1)
            progress(f"{months} months of {len(symbols)} symbols")
            if columnar:
                growth.size.append((months, [await whole(filled, "candles_1m") / 1e6]))
            times = 5 if options.quick else 15
            growth.latest.append((months, await ask(filled, _LATEST, live, oldest, times)))
            growth.day.append((months, await ask(filled, _OLD_DAY, live, oldest, times)))
            spent = await live.measure(filled, empty, 5 if options.quick else 30)
            ratios = [a / b for a, b in zip(spent["filled"], spent["empty"], strict=True)]
            growth.minute.append((months, ratios))
        count = (END - oldest) * 1440 * len(symbols)
        report.facts |= {"candles": count, "symbols": len(symbols), "chunks": None}
        if columnar:
            report.facts["chunks"] = await filled.fetchval("SELECT count(*) FROM show_chunks('candles_1m')")
            report.results += sizes(
                weeks, await whole(filled, "candles_1m") / (count + live.next * len(symbols))
            )
            report.facts["columnstore, bytes a row"] = await by_column(
                filled, "candles_1m", len(weeks.columnar) * 7 * 1440 * len(symbols)
            )
            report.facts["compression of a week, s"] = round(statistics.median(weeks.seconds), 2)
        for name, (_, target) in _QUERIES.items():
            found = await ask(filled, name, live, oldest, options.rounds or (5 if options.quick else 30))
            report.results.append(Result(name, "ms", found, target=target))
            report.facts[f"p95: {name}, ms"] = round(sorted(found)[int(0.95 * (len(found) - 1))], 2)
        progress("live minutes")
        spent = await live.measure(filled, empty, 20 if options.quick else 300)
        report.results.append(
            Result("a live minute", "ms", spent["filled"], spent["empty"], "empty tables", MINUTE)
        )
        report.facts |= {
            "live minute, candles, ms": round(statistics.median(spent["candles"]), 2),
            "live minute, features, ms": round(statistics.median(spent["features"]), 2),
            # The whole server's: the median of many, should others write to it.
            "live minute, WAL bytes a symbol": round(statistics.median(spent["wal"]) / len(symbols)),
        }
        if columnar:
            report.facts["a corrected day"] = await repair(filled, rows, oldest)
            report.facts |= await others(filled, rows)
        await filled.close()
        await empty.close()
    report.curves = growth.curves()
    return report


def sizes(weeks: Weeks, all_bytes: float) -> list[Result]:
    """Return the ratios: as written by the minute, with indexes built anew, and with the plain days."""
    fresh = weeks.columnar[: len(weeks.rebuilt)]
    unit, plain = "bytes a row", statistics.median(weeks.plain)
    return [
        Result("a week in the columnstore", unit, weeks.columnar, weeks.plain, "plain, as written", SIZE),
        Result("a week in the columnstore, strictly", unit, fresh, weeks.rebuilt, "plain, reindexed", SIZE),
        Result("all candles, the last days plain", unit, [all_bytes], [plain], "all plain", SIZE),
    ]


def run(options: Options) -> Report:
    """Measure."""
    return asyncio.run(measure(options))


if __name__ == "__main__":
    sys.exit(main(run))

"""`/data/spot/...`: daily and monthly kline zips with their checksums, only for what is over."""

from __future__ import annotations

import calendar
import datetime
import hashlib
import io
import re
import zipfile
from typing import Final

from exchange_simulator.clock import MarketClock
from exchange_simulator.faults.archives import Published
from exchange_simulator.intervals import INTERVALS, aggregate
from exchange_simulator.market import Market, Span
from exchange_simulator.rows import DAY_MS, OPEN_TIME, Row, row_of
from exchange_simulator.source.cache import Cache

_PATH: Final = re.compile(
    r"^/data/spot/(?P<span>daily|monthly)/klines/(?P<symbol>[^/]+)/(?P<interval>\w+)/"
    r"(?P=symbol)-(?P=interval)-(?P<date>\d{4}-\d{2}(?:-\d{2})?)\.zip(?P<checksum>\.CHECKSUM)?$"
)
_EPOCH: Final = datetime.date(1970, 1, 1)
MICROSECONDS_FROM: Final = (datetime.date(2025, 1, 1) - _EPOCH).days
"""Spot archives count microseconds from this day on (days since 1970)."""
# Daily files exist up to one day; monthly ones spell the month `1mo`.
_NOT_DAILY: Final = ("3d", "1w", "1M")


class Archive:
    """Builds files on demand. The same data always gives the same bytes."""

    def __init__(self, market: Market, clock: MarketClock, delay_hours: float) -> None:
        self._market = market
        self._clock = clock
        self._delay_ms = int(delay_hours * 3_600_000)
        self._files: Cache[tuple[str, str, int, int, tuple[Span, ...]], bytes] = Cache(32)

    def get(self, path: str) -> Published | None:
        """The file ``path`` (a zip, or its checksum) is about, or None for a 404."""
        match = _PATH.match(path)
        if match is None or match["symbol"] not in self._market.symbols:
            return None
        daily = match["span"] == "daily"
        interval = "1M" if match["interval"] == "1mo" else match["interval"]
        if interval not in INTERVALS or match["interval"] == "1M" or (daily and interval in _NOT_DAILY):
            return None
        span = _days(match["date"], daily)
        if span is None:
            return None
        first, last = span
        if self._clock.now_ms() < (last + 1) * DAY_MS + self._delay_ms:
            return None
        symbol, name = match["symbol"], path.rsplit("/", 1)[1].removesuffix(".CHECKSUM")
        # Halts are part of the key: one that is injected later must not meet an older file.
        key = (symbol, interval, first, last, self._market.halts)
        content = self._files.get(key, lambda: self._build(symbol, interval, first, last, name))
        if not content:
            return None
        return Published(symbol, name, content, hashlib.sha256(content).hexdigest())

    def _build(self, symbol: str, interval: str, first: int, last: int, name: str) -> bytes:
        market, low, high = self._market, first * DAY_MS, (last + 1) * DAY_MS - 1
        halted = any(
            span.symbol in (None, symbol) and span.start <= high and low < span.end for span in market.halts
        )
        if first == last and interval == "1m" and not halted:
            published = market.source.archive(symbol, first)
            if published is not None:
                return published
        rows: list[Row]
        if interval == "1m":
            rows = market.rows(symbol, "1m", high + 1, start=low, end=high, limit=50_000)
        else:
            minutes = market.minutes(symbol, low, high, high + 1, market.halts)
            rows = [row_of(line) for line in aggregate(minutes, interval).tolist() if line[OPEN_TIME] >= low]
        if not rows:
            return b""
        return zip_of(rows, name)


def zip_of(rows: list[Row], name: str) -> bytes:
    """``name`` is the zip's; it holds one CSV of the same stem. Always the same bytes for the same rows."""
    lines = "".join(map(csv_line, rows))
    info = zipfile.ZipInfo(name.replace(".zip", ".csv"), date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, lines)
    return buffer.getvalue()


def csv_line(row: Row) -> str:
    """Twelve columns without a header; microseconds from 2025-01-01 on."""
    t, o, h, low, c, v, end, q, n, tb, tq = row
    if t >= MICROSECONDS_FROM * DAY_MS:
        t, end = t * 1000, end * 1000 + 999
    return f"{t},{o},{h},{low},{c},{v},{end},{q},{n},{tb},{tq},0\n"


def _days(date: str, daily: bool) -> tuple[int, int] | None:
    try:
        if daily:
            day = (datetime.date.fromisoformat(date) - _EPOCH).days
            return day, day
        month = datetime.date.fromisoformat(f"{date}-01")
    except ValueError:
        return None
    first = (month - _EPOCH).days
    return first, first + calendar.monthrange(month.year, month.month)[1] - 1

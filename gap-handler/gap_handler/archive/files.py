"""Which archive files are worth their download for the minutes that are missing. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from gap_handler.plan import Run
from marketdata.binance.rest import KLINES_LIMIT
from marketdata.minutes import from_datetime, to_datetime
from marketdata.models import MINUTE_MS

DAY_MS: Final = 1440 * MINUTE_MS

DAY_WORTH_MINUTES: Final = KLINES_LIMIT
"""Up to this many minutes are one request by REST; a day's file is two."""
MONTH_WORTH_DAYS: Final = 4
"""Days worth a file of their own from which on the month's single file is the better choice."""


class File(NamedTuple):
    """A zip of 1-minute candles that open in ``[start, end)``, Unix ms: a day (UTC), or a calendar month."""

    symbol: str
    start: int
    end: int

    @property
    def monthly(self) -> bool:
        """Whether it is a month's."""
        return self.end - self.start > DAY_MS

    @property
    def stem(self) -> str:
        """The name without its extension: the zip's, and that of the one CSV inside."""
        return f"{self.symbol}-1m-{to_datetime(self.start):{'%Y-%m' if self.monthly else '%Y-%m-%d'}}"

    @property
    def path(self) -> str:
        """The path below the archives' address (``data/spot/...``, binance-public-data), percent-encoded."""
        span = "monthly" if self.monthly else "daily"
        return quote(f"/data/spot/{span}/klines/{self.symbol}/1m/{self.stem}.zip")


def month_of(time_ms: int) -> tuple[int, int]:
    """Return the calendar month (UTC) around an instant, half-open, Unix ms."""
    at = to_datetime(time_ms)
    following = at.year + at.month // 12, at.month % 12 + 1
    return (
        from_datetime(datetime(at.year, at.month, 1, tzinfo=UTC)),
        from_datetime(datetime(*following, 1, tzinfo=UTC)),
    )


def missing_by_day(missing: Iterable[Run]) -> Counter[int]:
    """Return how many minutes are missing of each day, by the day's midnight."""
    days: Counter[int] = Counter()
    for run in missing:
        at = run.start
        while at < run.end:
            midnight = at - at % DAY_MS
            until = min(run.end, midnight + DAY_MS)
            days[midnight] += (until - at) // MINUTE_MS
            at = until
    return days


def next_file(symbol: str, missing: Iterable[Run], now_ms: int, passed: Container[File]) -> File | None:
    """Return the newest file worth asking for, None when REST is the better way to all that is missing.

    A month that is over and lacks several days is one file; other days, and those of a month whose file is
    in ``passed``, are a file each where most of the day is missing. Days from yesterday on are REST's: their
    files are published hours after midnight at the earliest, and the live end cannot wait. ``now_ms`` is
    the exchange's time.
    """
    newest = now_ms - now_ms % DAY_MS - DAY_MS
    days = sorted(
        (
            day
            for day, minutes in missing_by_day(missing).items()
            if minutes > DAY_WORTH_MINUTES and day < newest
        ),
        reverse=True,
    )
    months = Counter(month_of(day) for day in days)
    for day in days:
        start, end = month_of(day)
        month = File(symbol, start, end)
        if months[start, end] >= MONTH_WORTH_DAYS and end <= now_ms and month not in passed:
            return month
        daily = File(symbol, day, day + DAY_MS)
        if daily not in passed:
            return daily
    return None

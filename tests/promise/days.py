"""The calendar a ledger cuts by and forgets by: the real one, and one short enough for a machine's hour."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from marketdata.models import MINUTE_MS

RETENTION_MONTHS: Final = 13


class Days(Protocol):
    """Minutes are counted from an arbitrary one, as in the ledger. ``length`` is a day's."""

    length: int

    def midnight(self, minute: int) -> int:
        """The first minute of the day."""

    def first_of_month(self, minute: int) -> int:
        """The first minute of the month."""

    def edge(self, now: int) -> int | None:
        """The first minute that is kept when it is ``now`` (ms from minute 0); None: all are."""


def newest_piece(days: Days, now: int, start: int, end: int, most: int) -> int:
    """From where on the gap ``[start, end)`` is claimed: see the function of that name in SQL."""
    if end - start < days.length:
        cut = start
    elif end > (yesterday := days.midnight(days.midnight(now // MINUTE_MS) - 1)):
        cut = yesterday
    else:
        cut = days.first_of_month(end - 1)
    return max(start, end - most, cut)


class ShortDays:
    """Days of 5 minutes, months of 3 days, and nothing is ever too old."""

    length = 5

    def midnight(self, minute: int) -> int:
        return minute - minute % self.length

    def first_of_month(self, minute: int) -> int:
        return minute - minute % (3 * self.length)

    def edge(self, now: int) -> int | None:
        return None


class Utc:
    """The days and months of UTC; minute 0 is ``origin`` (Unix ms)."""

    length = 1440

    def __init__(self, origin: int) -> None:
        self._zero = datetime.fromtimestamp(origin / 1000, UTC)

    def _time(self, minute: int) -> datetime:
        return self._zero + timedelta(minutes=minute)

    def _minute(self, time: datetime) -> int:
        return -((self._zero - time) // timedelta(minutes=1))

    def midnight(self, minute: int) -> int:
        return self._minute(self._time(minute).replace(hour=0, minute=0))

    def first_of_month(self, minute: int) -> int:
        return self._minute(self._time(minute).replace(day=1, hour=0, minute=0))

    def edge(self, now: int) -> int | None:
        return self._minute(_months_on(self._zero + timedelta(milliseconds=now), -RETENTION_MONTHS))

    def reaches(self, minute: int) -> int:
        """When (ms from minute 0) the edge comes to lie at ``minute``."""
        later = _months_on(self._time(minute), RETENTION_MONTHS) - self._zero
        return later // timedelta(milliseconds=1)


def _months_on(time: datetime, months: int) -> datetime:
    """The same time of day some months later; on the month's last day where it is too short."""
    year, month = divmod(time.year * 12 + time.month - 1 + months, 12)
    return time.replace(
        year=year, month=month + 1, day=min(time.day, calendar.monthrange(year, month + 1)[1])
    )

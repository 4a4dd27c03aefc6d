"""Instants as users write them, as aware datetimes in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TypeAlias

import numpy as np

from marketdata.errors import RequestError

Instant: TypeAlias = datetime | date | str | np.datetime64
"""An aware datetime (a pandas Timestamp is one), ISO 8601 text with its offset, a day (its midnight, UTC), or
NumPy's instant, which is UTC."""


def to_instant(value: Instant, name: str) -> datetime:
    """Return an instant in UTC; one without a time zone could mean anything and is refused.

    Raises ``RequestError`` that names the argument ``name``.
    """
    try:
        return _to_utc(value)
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise RequestError(
            f"{name} must be an instant with its time zone, such as 2026-11-21T12:05:00Z or"
            f" datetime(2026, 11, 21, 12, 5, tzinfo=UTC), or a day; got {value!r}"
        ) from None


def _to_utc(value: Instant) -> datetime:
    if isinstance(value, str):
        text = value.strip()
        return _to_utc(date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text))
    if isinstance(value, np.datetime64):
        return _to_utc(value.astype("datetime64[us]").item().replace(tzinfo=UTC))
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError
        t = value.astimezone(UTC)
        # Built anew: a Timestamp is a datetime whose nanoseconds PostgreSQL does not have.
        return datetime(t.year, t.month, t.day, t.hour, t.minute, t.second, t.microsecond, UTC)
    return datetime(value.year, value.month, value.day, tzinfo=UTC)

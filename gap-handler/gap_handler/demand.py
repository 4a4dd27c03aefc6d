"""A backfill request, from bytes to checked minutes. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from marketdata.minutes import floor_minute, from_datetime, isoformat
from marketdata.models import MINUTE_MS

LONGEST_MINUTES: Final = 398 * 1440
"""13 months at their longest (three of 28 to 31 days more than a year): 398 days."""
_FIELDS: Final = ("symbol", "start", "end")


class Problem(NamedTuple):
    """What is wrong with one field (``body``: with all of it)."""

    field: str
    message: str


class RefusedError(Exception):
    """The request cannot be served; ``problems`` names every field that is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in problems))
        self.problems = problems


class Demand(NamedTuple):
    """Minutes ``[start, end)`` of ``symbol``, Unix milliseconds."""

    symbol: str
    start: int
    end: int


class Limits(NamedTuple):
    """What the market allows, Unix ms; None where it is not known or there is none."""

    now: int
    history: int
    first_kline: int | None
    expected_until: int | None


def _symbol(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 64 or not value.isprintable():
        raise ValueError("must be an instrument's name such as BTCUSDT")
    return value


def _minute(value: Any) -> int:
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError("must be an ISO 8601 time with its zone, such as 2026-01-31T12:00:00Z")
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError("has no time zone: write Z for UTC, such as 2026-01-31T12:00:00Z")
        instant = instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith("has no") else f"is not an ISO 8601 time ({text})") from None
    if instant.second or instant.microsecond:
        raise ValueError("must be a whole minute")
    return from_datetime(instant)


def parse(body: bytes) -> Demand:
    """Return what is asked for. Raises ``RefusedError`` that names every field that is wrong."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusedError([Problem("body", f"is not JSON ({error})")]) from None
    if not isinstance(data, dict):
        raise RefusedError([Problem("body", "must be an object with symbol, start and end")])
    problems = [
        Problem(name[:64], "is not a field of a backfill request") for name in data if name not in _FIELDS
    ]
    values: dict[str, Any] = {}
    for name, read in (("symbol", _symbol), ("start", _minute), ("end", _minute)):
        if name not in data:
            problems.append(Problem(name, "is missing"))
            continue
        try:
            values[name] = read(data[name])
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    if not problems:
        demand = Demand(values["symbol"], values["start"], values["end"])
        if demand.end <= demand.start:
            problems.append(Problem("end", "must be later than start"))
        elif demand.end - demand.start > LONGEST_MINUTES * MINUTE_MS:
            problems.append(Problem("end", "is more than 13 months after start"))
        else:
            return demand
    raise RefusedError(problems)


def check(demand: Demand, limits: Limits | None) -> None:
    """Raise ``RefusedError`` unless the market has, or may have, the minutes asked for.

    ``limits`` None: nobody registered the symbol.
    """
    if limits is None:
        raise RefusedError([Problem("symbol", f"{demand.symbol} is not captured here: add it to SYMBOLS")])
    problems = []
    final_until = floor_minute(limits.now)
    if demand.end > final_until:
        problems.append(
            Problem("end", f"lies in the future: the newest minute ended at {isoformat(final_until)}")
        )
    if demand.start < floor_minute(limits.history):
        problems.append(
            Problem("start", f"lies before the history that is kept, from {isoformat(limits.history)} on")
        )
    if limits.first_kline is not None and demand.end <= limits.first_kline:
        problems.append(
            Problem("end", f"lies before the symbol's first minute, {isoformat(limits.first_kline)}")
        )
    if limits.expected_until is not None and demand.start >= limits.expected_until:
        problems.append(
            Problem("start", f"lies after the symbol's last minute, {isoformat(limits.expected_until)}")
        )
    if problems:
        raise RefusedError(problems)

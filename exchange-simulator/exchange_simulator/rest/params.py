"""Reading query parameters, strictly, as Binance does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import orjson

from exchange_simulator.rest import errors

_SYMBOL_RANGE: Final = "^[A-Z0-9-_.]{1,20}$"
_SYMBOL: Final = re.compile(r"^[\w.-]{1,20}$")
_OFFSET: Final = re.compile(r"^([+-]?)(\d{1,2})(?::(\d{2}))?$")
# Anything from here on is microseconds: as milliseconds it would lie beyond the year 5000.
_MICROSECONDS: Final = 10**14


class Params:
    """One request's parameters; those never asked for are an error (-1104)."""

    def __init__(self, query: Mapping[str, str], known: tuple[str, ...]) -> None:
        for name in query:
            if name in known and query[name] == "":
                raise errors.empty(name)
        read = sum(name in known for name in query)
        if read < len(query):
            raise errors.unread(read, len(query))
        self._query = query

    def text(self, name: str) -> str | None:
        """The value as sent."""
        return self._query.get(name)

    def required(self, name: str) -> str:
        """The value; -1102 without one."""
        value = self._query.get(name)
        if value is None:
            raise errors.mandatory(name)
        return value

    def symbol(self) -> str:
        """A well-formed symbol; whether it exists is another matter."""
        return check_symbol(self.required("symbol"), "symbol")

    def symbols(self, name: str = "symbols") -> list[str] | None:
        """A JSON array of symbols; None when absent."""
        raw = self._query.get(name)
        if raw is None:
            return None
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise errors.illegal(name, '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$')
        if len(set(value)) != len(value):
            raise errors.ApiError(-1151, "Symbol is present multiple times in the list.")
        return [check_symbol(item, name) for item in value]

    def number(self, name: str) -> int | None:
        """A whole number; -1100 for anything else, -1130 for a negative one."""
        raw = self._query.get(name)
        if raw is None:
            return None
        if not re.fullmatch(r"-?\d{1,20}", raw):
            raise errors.illegal(name, "^[0-9]{1,20}$")
        value = int(raw)
        if value < 0:
            raise errors.invalid_value(name)
        return value

    def time(self, name: str, *, last: bool = False) -> int | None:
        """A time in Unix ms, sent as ms or µs. A lower bound rounds up, an upper (``last``) down."""
        value = self.number(name)
        if value is None or value < _MICROSECONDS:
            return value
        return value // 1000 if last else -(-value // 1000)

    def limit(self, default: int, most: int) -> int:
        """A number of rows, silently cut to ``most``."""
        value = self.number("limit")
        if value is None:
            return default
        if value == 0:
            raise errors.invalid_value("limit")
        return min(value, most)

    def time_zone(self) -> int:
        """`timeZone` as ms to add to UTC: `0`, `8`, `-1:00`, `05:45`; -12:00 to +14:00."""
        raw = self._query.get("timeZone")
        if raw is None:
            return 0
        match = _OFFSET.match(raw)
        if not match:
            raise errors.invalid_value("timeZone")
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        minutes = -minutes if match[1] == "-" else minutes
        if not -720 <= minutes <= 840:
            raise errors.invalid_value("timeZone")
        return minutes * 60_000


def check_symbol(value: str, name: str) -> str:
    """``value`` when it could be a symbol; -1100 otherwise (letters of any script are legal)."""
    if not _SYMBOL.match(value) or value != value.upper():
        raise errors.illegal(name, _SYMBOL_RANGE)
    return value

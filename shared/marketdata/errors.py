"""The errors of the suite, by who must act.

MarketDataError
├── ConfigurationError      the operator: a setting is unknown, malformed or contradicts another
│   ├── UnknownSymbolError  the operator: the exchange does not list this symbol
│   └── SchemaError         the operator: the database's schema is not the one this code expects
├── DecodeError             the exchange or a proxy: bytes that are not what the protocol says
├── ExchangeError           the exchange answered, and not with data
│   ├── RateLimitedError    wait: 429, 418 or the WAF's 403, with the seconds to wait
│   ├── RestrictedError     the operator: 451, this location is not served
│   ├── RejectedError       us: a request that will never succeed (other 4xx)
│   ├── WrongExchangeError  the operator: simulated answers for a database of real candles, or the reverse
│   └── UnavailableError    wait: 5xx, a timeout, a broken connection
├── RequestError            the caller: a name, an instant or a number that can't be meant
├── MissingPackageError     the caller: a package that is not installed
├── ExportError             the caller: what was asked for is right, and could not be written
├── LeaseLostError          nobody: another worker has the work now, or it is closed
└── DatabaseUnavailableError  wait: the database cannot be reached or refuses work
"""

from __future__ import annotations


class MarketDataError(Exception):
    """Root of every error this suite raises on purpose."""


class ConfigurationError(MarketDataError):
    """The configuration cannot be used. ``problems`` names every one of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class UnknownSymbolError(ConfigurationError):
    """``SYMBOLS`` names instruments the exchange does not list."""


class SchemaError(ConfigurationError):
    """The database's schema is missing, older or newer than this code, or was edited."""


class DecodeError(MarketDataError):
    """Bytes that are not what the protocol says. The message holds the first 200 of them."""

    def __init__(self, reason: str, raw: bytes | str = b"") -> None:
        text = raw[:200].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:200]
        super().__init__(f"{reason}: {text!r}" if text else reason)
        self.reason = reason


class ExchangeError(MarketDataError):
    """The exchange answered with something other than data."""

    def __init__(self, message: str, *, status: int = 0, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RateLimitedError(ExchangeError):
    """Every call from this address must stop for ``retry_after`` seconds."""

    def __init__(self, message: str, *, status: int, retry_after: float, code: int | None = None) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_after = retry_after


class RestrictedError(ExchangeError):
    """HTTP 451: the exchange does not serve this location."""


class RejectedError(ExchangeError):
    """A request that will not succeed by repeating it."""


class WrongExchangeError(ExchangeError):
    """Who answers is not whose candles the database holds."""


class UnavailableError(ExchangeError):
    """The exchange, or the way to it, is failing for now."""


class RequestError(MarketDataError, ValueError):
    """A question or a row that can't be meant. ``problems`` name each argument and what to give instead."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class MissingPackageError(MarketDataError, ImportError):
    """What was asked for needs a package that is not installed. The message says which."""


class ExportError(MarketDataError):
    """The training set could not be made. Nothing stands under its name."""


class LeaseLostError(MarketDataError):
    """The work was closed, or taken over, while this worker had it. Nothing was changed."""


class DatabaseUnavailableError(MarketDataError):
    """The database cannot be reached within the time allowed."""

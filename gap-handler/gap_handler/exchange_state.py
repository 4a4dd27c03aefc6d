"""How the exchange is, as the last answer had it, in words for people."""

from __future__ import annotations

from enum import StrEnum

from marketdata.clock import Clock
from marketdata.errors import (
    DecodeError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    WrongExchangeError,
)


class ExchangeStatus(StrEnum):
    """What the last request met."""

    UNKNOWN = "unknown"
    OK = "ok"
    RATE_LIMITED = "rate_limited"
    RESTRICTED = "restricted"
    UNAVAILABLE = "unavailable"
    GARBLED = "garbled"
    WRONG = "wrong"


class ExchangeState:
    """The last answer's meaning, why, and how long ago it came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self.status = ExchangeStatus.UNKNOWN
        self.reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there is nothing to complain of (before the first answer, too)."""
        return self.status in (ExchangeStatus.OK, ExchangeStatus.UNKNOWN)

    @property
    def age(self) -> float:
        """Seconds since the state was last seen."""
        return self._clock.monotonic() - self._at

    def delivered(self) -> None:
        """The exchange answered with what was asked."""
        self.status, self.reason, self._at = ExchangeStatus.OK, None, self._clock.monotonic()

    def failed(self, error: Exception) -> None:
        """The exchange answered with ``error``, or not at all."""
        self._at = self._clock.monotonic()
        match error:
            case RejectedError() if error.code is not None:
                # Its fault or ours, but it is there.
                self.status, self.reason = ExchangeStatus.OK, None
            case RejectedError():
                self.status = ExchangeStatus.GARBLED
                self.reason = f"something else than the exchange answers at BINANCE_API_URL: {error}"
            case RateLimitedError():
                self.status = ExchangeStatus.RATE_LIMITED
                banned = "has banned this address" if error.status == 418 else "asks us to wait"
                self.reason = f"the exchange {banned} for {error.retry_after:.0f} s ({error})"
                if error.status == 0:
                    self.reason = f"waiting {error.retry_after:.0f} s for the next minute: {error}"
            case RestrictedError():
                self.status, self.reason = ExchangeStatus.RESTRICTED, str(error)
            case WrongExchangeError():
                self.status, self.reason = ExchangeStatus.WRONG, str(error)
            case DecodeError():
                self.status, self.reason = ExchangeStatus.GARBLED, f"the exchange answers nonsense: {error}"
            case _:
                self.status, self.reason = (
                    ExchangeStatus.UNAVAILABLE,
                    f"the exchange does not answer: {error}",
                )

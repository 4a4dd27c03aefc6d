"""What a failed backfill means: whose fault it was, and when to try again."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

from marketdata.backoff import delays
from marketdata.database import TRANSIENT
from marketdata.errors import (
    DatabaseUnavailableError,
    DecodeError,
    LeaseLostError,
    MarketDataError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    UnavailableError,
    WrongExchangeError,
)

FIRST_DELAY: Final = 2.0
LONGEST_DELAY: Final = 60.0
SLOW_SECONDS: Final = 300.0
"""Between tries of what only an operator can change."""


class StalledError(MarketDataError):
    """A backfill made no progress for too long."""


class Outcome(StrEnum):
    """How a piece of work ended, as the metric ``backfills_total`` counts it."""

    COMPLETED = "completed"
    WAITING = "waiting"
    RATE_LIMITED = "rate_limited"
    RESTRICTED = "restricted"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    STALLED = "stalled"
    LOST = "lost"
    DATABASE = "database"
    STOPPED = "stopped"
    FAILED = "failed"


class Verdict(NamedTuple):
    """``retry_seconds`` until anyone should try again, and why in plain words."""

    outcome: Outcome
    retry_seconds: float
    reason: str


def delay_after(attempts: int) -> float:
    """Return the seconds to wait after the given number of tries."""
    return next(islice(delays(FIRST_DELAY, LONGEST_DELAY), min(max(attempts, 1), 16) - 1, None))


def verdict(error: BaseException, attempts: int) -> Verdict:
    """Judge the error that ended a backfill. ``FAILED`` is the one that should not have been possible."""
    text = str(error) or type(error).__name__
    match error:
        case RateLimitedError():
            return Verdict(Outcome.RATE_LIMITED, error.retry_after, f"the exchange's rate limit: {text}")
        case RestrictedError():
            return Verdict(Outcome.RESTRICTED, SLOW_SECONDS, text)
        case WrongExchangeError():
            return Verdict(Outcome.REJECTED, SLOW_SECONDS, text)
        case RejectedError():
            return Verdict(Outcome.REJECTED, SLOW_SECONDS, f"the exchange refuses the request: {text}")
        case UnavailableError():
            return Verdict(
                Outcome.UNAVAILABLE, delay_after(attempts), f"the exchange does not answer: {text}"
            )
        case DecodeError():
            return Verdict(
                Outcome.UNAVAILABLE, delay_after(attempts), f"the exchange answers nonsense: {text}"
            )
        case StalledError():
            return Verdict(Outcome.STALLED, 0.0, text)
        case LeaseLostError():
            return Verdict(Outcome.LOST, 0.0, text)
        case DatabaseUnavailableError():
            return Verdict(Outcome.DATABASE, delay_after(attempts), f"the database: {text}")
    if isinstance(error, TRANSIENT):
        return Verdict(Outcome.DATABASE, delay_after(attempts), f"the database: {text}")
    return Verdict(Outcome.FAILED, LONGEST_DELAY, f"an unexpected error: {type(error).__name__}: {text}")

"""What can come of an archive file."""

from __future__ import annotations

from enum import StrEnum

from marketdata.errors import MarketDataError


class Outcome(StrEnum):
    """How a file ended, as the metric ``archive_files_total`` counts it."""

    READ = "read"
    PARTIAL = "partial"
    """Read up to a line that is not of the format; what follows it is left to the next source."""
    ABSENT = "absent"
    CHECKSUM = "checksum"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    WRONG_EXCHANGE = "wrong_exchange"


class UnusableError(MarketDataError):
    """A file, or the rest of it, cannot be used: ``outcome`` says in which of the ways."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome

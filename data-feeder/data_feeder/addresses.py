"""Which of the exchange's addresses a connection uses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Failover(NamedTuple):
    """The address that delivers changed."""

    left: str
    taken: str
    reason: str


class Addresses:
    """Stays on the address that delivers and goes to the next one when it fails.

    An address fails when it refuses, ends before it delivered or right after, or falls silent as a
    whole. A connection that delivered for a while and is lost is tried again where it was.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)
        self._at = 0
        self._failed = 0
        self._reason = ""
        self.delivering = self._urls[0]

    @property
    def current(self) -> str:
        """The address to try next."""
        return self._urls[self._at]

    @property
    def first(self) -> str:
        """The address that is preferred."""
        return self._urls[0]

    @property
    def away(self) -> bool:
        """Whether another than the first delivers."""
        return self.delivering != self.first

    @property
    def another(self) -> bool:
        """Whether an address is left that did not fail in this round: it may be tried without a pause."""
        return self._failed % len(self._urls) != 0

    def failed(self, url: str, reason: str) -> None:
        """Go on to the next address, unless ``url`` is no longer the current one."""
        if url == self.current:
            self._at = (self._at + 1) % len(self._urls)
            self._failed += 1
            if url == self.delivering:
                self._reason = reason

    def delivers(self, url: str, reason: str = "") -> Failover | None:
        """Take note of data from ``url``; return the change when another one delivered before."""
        self._at = self._urls.index(url)
        self._failed = 0
        left, self.delivering = self.delivering, url
        reason, self._reason = reason or self._reason, ""
        return None if left == url else Failover(left, url, reason)

"""Request weight per address and real minute, with 429 and then 418 for those who go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Verdict(NamedTuple):
    """``status`` 200, 429 or 418; ``used`` weight this minute; ``wait`` in s; ``until`` Unix ms of a ban."""

    status: int
    used: int
    wait: int
    until: int


@dataclass(slots=True)
class _Account:
    minute: int = -1
    used: int = 0
    ignored: int = 0
    banned_until: float = 0.0
    bans: int = 0


class Weights:
    """Counts for each address. Counters start anew on the clock minute; bans double each time."""

    def __init__(self, limit: int, ban_after: int, ban_seconds: int) -> None:
        self.limit = limit
        self._ban_after = ban_after
        self._ban_seconds = ban_seconds
        self._accounts: dict[str, _Account] = {}

    def charge(self, address: str, weight: int, now: float) -> Verdict:
        """Count one request at ``now`` (real Unix seconds)."""
        account = self._accounts.setdefault(address, _Account())
        minute = int(now // 60)
        if account.minute != minute:
            account.minute, account.used, account.ignored = minute, 0, 0
        if now < account.banned_until:
            return self._banned(account, now)
        account.used += weight
        if account.used <= self.limit:
            return Verdict(200, account.used, 0, 0)
        account.ignored += 1
        if account.ignored > self._ban_after:
            account.banned_until = now + self._ban_seconds * 2**account.bans
            account.bans += 1
            return self._banned(account, now)
        return Verdict(429, account.used, max(1, int((minute + 1) * 60 - now)), 0)

    def _banned(self, account: _Account, now: float) -> Verdict:
        wait = max(1, int(account.banned_until - now))
        return Verdict(418, account.used, wait, int(account.banned_until * 1000))

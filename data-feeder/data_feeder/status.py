"""What the feeder says of itself: facts collected here, judged in one pure function."""

from __future__ import annotations

from typing import Final, NamedTuple

SLOW_SECONDS: Final = 10.0


class Status:
    """Facts that only their owners know; everything else is read from the parts."""

    def __init__(self) -> None:
        self.exchange_problem: str | None = "not asked yet"
        self.server_kind = "unknown"
        self.database_problem: str | None = None
        self.nothing_to_do: str | None = None
        self.ready = False


class Verdict(NamedTuple):
    """``unhealthy`` means this process or its database cannot work; the exchange only degrades."""

    status: str
    reasons: list[str]

    @property
    def http_status(self) -> int:
        """503 when unhealthy, else 200: an exchange that is down must not stop what depends on us."""
        return 503 if self.status == "unhealthy" else 200


def judge(
    *,
    database_connected: bool,
    websocket_connected: bool,
    silent: list[str],
    exchange_problem: str | None,
    buffered: int,
    oldest_seconds: float = 0.0,
    features_problem: str | None = None,
    audit_problem: str | None = None,
    database_problem: str | None = None,
    nothing_to_do: str | None = None,
) -> Verdict:
    """Return the state of the service and, in plain words, why it is not better.

    ``nothing_to_do``: why this feeder captures nothing. Somebody wanted it to, so it is not all well.
    """
    if nothing_to_do is not None:
        return Verdict("degraded", [nothing_to_do])
    reasons = []
    if exchange_problem is not None:
        reasons.append(f"exchange: {exchange_problem}")
    if not websocket_connected:
        reasons.append("no stream connection is delivering")
    if silent:
        reasons.append(f"silent streams: {', '.join(silent[:10])}{' …' if len(silent) > 10 else ''}")
    if oldest_seconds > SLOW_SECONDS:
        reasons.append(
            f"the database is slow: a candle waits for {oldest_seconds:.0f} s, {buffered} in memory"
        )
    if features_problem is not None:
        reasons.append(f"features: {features_problem}")
    if audit_problem is not None:
        reasons.append(f"audit: {audit_problem}")
    if not database_connected:
        why = f" ({database_problem})" if database_problem else ""
        reasons.insert(0, f"the database is not connected{why}; {buffered} candles are kept in memory")
        return Verdict("unhealthy", reasons)
    return Verdict("degraded" if reasons else "healthy", reasons)

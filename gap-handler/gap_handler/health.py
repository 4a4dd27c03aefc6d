"""What /health says: whether this process can work, and what keeps it from working well."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final, NamedTuple

import psutil

from gap_handler import completeness
from gap_handler.exchange_state import ExchangeState
from gap_handler.probe import Probe, Seen
from gap_handler.silence import Silence
from gap_handler.totals import Totals
from marketdata.clock import Clock
from marketdata.migrate.lacking import LACKING
from marketdata.minutes import isoformat

DATABASE_SECONDS: Final = 1.5


class Status(StrEnum):
    """``unhealthy`` alone means that this process, or its database, cannot work."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Health(NamedTuple):
    """The verdict and its report."""

    status: Status
    report: dict[str, Any]


def judge(
    seen: Seen | str,
    exchange: ExchangeState,
    ended: list[str],
    troubles: Collection[str] = (),
    unheard: str | None = None,
) -> tuple[Status, list[str]]:
    """Return the status and its reasons in plain words.

    ``ended`` names tasks that stopped by themselves; ``troubles`` is what the database refuses at present;
    ``unheard`` says which symbols no feeder brings.
    """
    reasons = []
    status = Status.HEALTHY
    if not exchange.ok and exchange.reason:
        status = Status.DEGRADED
        reasons.append(exchange.reason)
    if unheard is not None:
        status = Status.DEGRADED
        reasons.append(unheard)
    if isinstance(seen, str):
        status = Status.UNHEALTHY
        reasons.append(f"the database cannot be used: {seen}")
    elif troubles:
        # It answers questions, but not every one of our tasks gets its work done.
        status = Status.DEGRADED
        reasons += [f"the database refuses work: {reason}" for reason in sorted(set(troubles))]
    if ended:
        status = Status.UNHEALTHY
        reasons.append(f"stopped by themselves: {', '.join(ended)}")
    return status, reasons


class HealthCheck:
    """Puts the report together; it takes two seconds at most, whatever hangs."""

    def __init__(
        self, probe: Probe, exchange: ExchangeState, totals: Totals, clock: Clock, silence: Silence
    ) -> None:
        self._probe = probe
        self._exchange = exchange
        self._totals = totals
        self._clock = clock
        self._silence = silence
        self._started = clock.monotonic()
        self._process = psutil.Process()
        self.ended: list[str] = []
        self.troubles: dict[object, str] = {}

    async def look(self) -> Health:
        """Return the state of things now."""
        seen = await self._probe.look(DATABASE_SECONDS)
        status, reasons = judge(
            seen, self._exchange, self.ended, self.troubles.values(), self._silence.problem
        )
        report: dict[str, Any] = {
            "status": status.value,
            "service": "gap_handler",
            "reasons": reasons,
            "backfills_completed": self._totals.backfills_completed,
            "backfills_running": self._totals.running,
            "candles_recovered": self._totals.candles_recovered,
            "database_status": "disconnected" if isinstance(seen, str) else "connected",
            "exchange_status": self._exchange.status.value,
            "uptime_seconds": round(self._clock.monotonic() - self._started, 1),
            "memory_mb": round(self._process.memory_info().rss / 2**20, 1),
        }
        known = None if isinstance(seen, str) else seen
        report |= {
            "open_gaps": known.open_gaps if known else None,
            "provisional_outages": known.provisional_outages if known else None,
            "minutes_missing": known.minutes_missing if known else None,
            "history": completeness.report(known.histories) if known else None,
            "market_time": isoformat(known.market_now) if known and known.market_now else None,
            "server_kind": known.server_kind if known else None,
            "server_lacks": LACKING.get(known.server_kind, "") if known else None,
        }
        return Health(status, report)

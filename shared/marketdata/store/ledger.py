"""The ledger: opening, leasing and closing gaps, and noting whatever else happens to the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from marketdata import metrics
from marketdata.database import Connection
from marketdata.errors import LeaseLostError
from marketdata.log import get_logger
from marketdata.minutes import isoformat
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.reach import CROSS_WINDOW, MAX_WINDOW, REFERENCE

log = get_logger(__name__)

_TOLD_MOST: Final = 10
"""Gaps opened at once that are logged one by one."""


class Gap(NamedTuple):
    """An open gap: minutes ``[start, end)`` of ``symbol``, Unix milliseconds."""

    id: int
    symbol: str
    start: int
    end: int

    @property
    def minutes(self) -> int:
        """How many minutes it spans."""
        return (self.end - self.start) // MINUTE_MS


class Work(NamedTuple):
    """A leased piece of work. ``is_outage``: a second look at a provisional outage.

    ``owner`` names the lease: whoever comes with another name finds it lost.
    """

    gap: Gap
    is_outage: bool
    attempts: int
    owner: str | None = None


async def record_missing(
    connection: Connection,
    symbol: str,
    start: int,
    end: int,
    cause: str,
    *,
    reopen: bool = False,
    tell: bool = True,
) -> list[Gap]:
    """Open a gap for each run of minutes of ``[start, end)`` that is neither stored nor in the ledger.

    Times are Unix milliseconds. ``cause`` is a word for people (``jump``, ``start``, ``audit``,
    ``silence``, ``buffer``, ``request``). ``reopen`` includes minutes of a confirmed outage. Without ``tell``
    the caller logs what was opened.
    """
    records = await connection.fetch(
        "SELECT * FROM record_missing($1, $2, $3, $4, $5)", symbol, start, end, cause, reopen
    )
    gaps = [Gap(r["id"], symbol, r["gap_start"], r["gap_end"]) for r in records]
    metrics.GAPS_DETECTED.labels(cause).inc(len(gaps))
    if tell:
        log_gaps(gaps, cause)
    return gaps


def log_gaps(gaps: Sequence[Gap], cause: str) -> None:
    """Log gaps that were opened: each for itself, or ``gaps_recorded`` where they are many."""
    if len(gaps) > _TOLD_MOST:
        log.info(
            "gaps_recorded",
            count=len(gaps),
            minutes=sum(gap.minutes for gap in gaps),
            symbols=list(dict.fromkeys(gap.symbol for gap in gaps))[:_TOLD_MOST],
            cause=cause,
        )
        return
    for gap in gaps:
        log.info(
            "gap_detected",
            symbol=gap.symbol,
            start=isoformat(gap.start),
            end=isoformat(gap.end),
            minutes=gap.minutes,
            cause=cause,
            id=gap.id,
        )


async def claim(
    connection: Connection, *, lease_seconds: float, max_minutes: int, owner: str | None = None
) -> Work | None:
    """Lease the newest open work, or a piece of it; None when there is none.

    A gap of a day or more is cut by the calendar (UTC): from yesterday's midnight to its end, then month by
    month. No piece is longer than ``max_minutes``. ``owner`` must be new for every claim: a run that was
    given up for dead then holds nothing.
    """
    record = await connection.fetchrow(
        "SELECT * FROM claim_work(make_interval(secs => $1), $2, $3)", lease_seconds, max_minutes, owner
    )
    if record is None:
        return None
    gap = Gap(record["id"], record["symbol"], record["gap_start"], record["gap_end"])
    return Work(gap, record["event_type"] == "outage", record["attempts"], owner)


async def renew(
    connection: Connection,
    work_id: int,
    *,
    lease_seconds: float,
    recovered: int = 0,
    owner: str | None = None,
) -> None:
    """Hold on to a lease, and count ``recovered`` candles.

    Raises ``LeaseLostError`` when the work was closed, or is another owner's by now.
    """
    status = await connection.execute(
        "UPDATE data_quality_logs SET lease_until = now() + make_interval(secs => $2),"
        " candles_recovered = candles_recovered + $3"
        " WHERE id = $1 AND NOT resolved AND lease_owner IS NOT DISTINCT FROM $4",
        work_id,
        lease_seconds,
        recovered,
        owner,
    )
    if status != "UPDATE 1":
        raise LeaseLostError("the work was closed or taken over by another worker")


async def hold(connection: Connection, work: Work, *, lease_seconds: float) -> None:
    """Renew the lease inside a transaction that goes on to change the ledger.

    Raises ``LeaseLostError``. The symbol's lock comes first, as in every verb of the ledger.
    """
    await connection.execute("SELECT lock_ledger($1)", work.gap.symbol)
    await renew(connection, work.gap.id, lease_seconds=lease_seconds, owner=work.owner)


async def release(
    connection: Connection, work_id: int, *, retry_seconds: float, reason: str, owner: str | None = None
) -> None:
    """Give work back; nobody takes it for ``retry_seconds``. ``reason`` stays in ``detail.waiting_for``.

    A lease that is no longer ``owner``'s is left alone.
    """
    await connection.execute(
        "UPDATE data_quality_logs SET lease_until = now() + make_interval(secs => $2), lease_owner = NULL,"
        " detail = detail || jsonb_build_object('waiting_for', $3::text)"
        " WHERE id = $1 AND NOT resolved AND lease_owner IS NOT DISTINCT FROM $4",
        work_id,
        retry_seconds,
        reason,
        owner,
    )


async def settle_gap(
    connection: Connection,
    gap_id: int,
    *,
    recovered: int,
    retry_seconds: float,
    reason: str,
    owner: str | None = None,
) -> bool:
    """Close a gap of which every minute is accounted for, and return True; else leave it for a retry.

    ``recovered`` candles are added to the row's count either way. Raises ``LeaseLostError`` when the
    gap was closed, or is another owner's by now.
    """
    closed: bool | None = await connection.fetchval(
        "SELECT settle_gap($1, $2, now() + make_interval(secs => $3), $4, $5)",
        gap_id,
        recovered,
        retry_seconds,
        reason,
        owner,
    )
    if closed is None:
        raise LeaseLostError("the gap was closed or taken over by another worker")
    return closed


async def record_outage(
    connection: Connection, symbol: str, start: int, end: int, *, confirm_seconds: int
) -> None:
    """Note that the exchange has rows on both sides of ``[start, end)`` and none inside.

    Provisional: coverage still says missing until a second look ``confirm_seconds`` of market time
    later. The feature rows that reach these minutes become stale, for they now enter as flat: those of
    ``symbol``, and of all others where it is the REFERENCE.
    """
    await connection.execute(
        "SELECT record_outage($1, $2, $3, make_interval(secs => $4), $5, $6, $7)",
        symbol,
        start,
        end,
        float(confirm_seconds),
        MAX_WINDOW,
        REFERENCE,
        CROSS_WINDOW,
    )


async def settle_outage(connection: Connection, outage_id: int, *, owner: str | None = None) -> None:
    """End the second look: confirm what is still missing, turn what came back into a repaired gap.

    Raises ``LeaseLostError`` when that is done already, or another owner's to do.
    """
    if not await connection.fetchval("SELECT settle_outage($1, $2)", outage_id, owner):
        raise LeaseLostError("the outage was settled or taken over by another worker")


async def record_invalid(connection: Connection, candle: Candle, source: Source, problem: str) -> None:
    """Keep an impossible candle and why it was refused."""
    log.warning(
        "candle_invalid", symbol=candle.symbol, candle_time=candle.time, source=source, reason=problem
    )
    await note(
        connection,
        "invalid",
        candle.symbol,
        start=candle.time,
        end=candle.time + MINUTE_MS,
        detail={"reason": problem, "source": source.value, "candle": [repr(value) for value in candle]},
    )


async def note(
    connection: Connection,
    event_type: str,
    symbol: str | None,
    *,
    start: int | None = None,
    end: int | None = None,
    detail: dict[str, Any] | None = None,
) -> int:
    """Write an event that is complete as it stands (``stale``, ``failover`` …) and return its id."""
    return int(
        await connection.fetchval(
            "INSERT INTO data_quality_logs"
            " (event_type, symbol, gap_start, gap_end, resolved, resolved_at, detail)"
            " VALUES ($1, $2, $3, $4, true, now(), $5::text::jsonb) RETURNING id",
            event_type,
            symbol,
            start,
            end,
            orjson.dumps(detail or {}).decode(),
        )
    )

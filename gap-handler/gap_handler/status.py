"""``python -m gap_handler status``: the history's completeness as a table, from the database alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import asyncpg

from gap_handler.completeness import History, percent, total
from gap_handler.queries import QUERIES
from marketdata import database
from marketdata.errors import DatabaseUnavailableError, SchemaError
from marketdata.settings import DatabaseSettings

_BAR: Final = 20
_SECONDS: Final = 20.0
_CLEAR: Final = "\x1b[H\x1b[J"
_HEADINGS: Final = (
    "symbol", "", "complete", "missing", "outage", "gaps", "fetching", "a minute", "left", "newest candle",
    "audited until",
)  # fmt: skip


async def show(settings: DatabaseSettings, *, every: float | None, to: TextIO = sys.stdout) -> None:
    """Write the table, again each ``every`` seconds where given; a terminal is redrawn, a pipe appended to.

    SIGINT ends it between two tables: a cancellation may be lost where it meets an answer (Python 3.11).
    Raises ``ConfigurationError``, ``DatabaseUnavailableError`` or ``SchemaError``.
    """
    interrupted = asyncio.Event()
    if every is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    await database.wait_for_database(settings, seconds=0)
    try:
        connection = await database.connect(settings, "gap_handler-status", command_timeout=_SECONDS)
        try:
            while True:
                records = await connection.fetch(QUERIES["status"])
                if every is not None and to.isatty():
                    to.write(_CLEAR)
                to.write(table(records))
                to.flush()
                if every is None:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every):
                        await interrupted.wait()
                        return
        finally:
            await connection.close(timeout=5)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError):
        raise SchemaError(
            [f"the database {settings.name} has no such schema: run python -m marketdata.migrate"]
        ) from None
    except (asyncpg.PostgresError, *database.TRANSIENT) as error:
        reason = str(error) or type(error).__name__
        raise DatabaseUnavailableError(
            f"the database at {settings.host}:{settings.port} did not answer: {reason}"
        ) from None


def table(records: Sequence[Any]) -> str:
    """Return the table of ``status.sql``'s rows as lines of text."""
    if not records:
        return "No symbol is registered yet: the data-feeder does that at its start.\n"
    now = records[0]["now"]
    lines = [f"History at {_time(now)} UTC, the market's time." if now else "The exchange was not heard yet."]
    rows = [list(_HEADINGS)] + [_row(record) for record in records]
    if len(records) > 1:
        summed = total([_history(record) for record in records])
        rows.append([summed.symbol, bar(summed), percent(summed), f"{summed.missing:,}", f"{summed.outage:,}",
                     f"{sum(r['open_gaps'] for r in records):,}", f"{sum(r['fetching'] for r in records):,}",
                     "", "", "", ""])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def bar(history: History) -> str:
    """Return a bar of ``#`` and ``.``; it is full only where nothing is missing."""
    if history.expected == 0:
        return " " * _BAR
    full = (history.expected - history.missing) * _BAR // history.expected
    return "#" * full + "." * (_BAR - full)


def left(missing: int, per_second: float | None, fetching: int) -> str:
    """Return the time left at this rate, ``-`` where it cannot be told."""
    if not missing or not fetching or not per_second:
        return "-"
    minutes = int(missing / per_second / 60)
    if minutes >= 24 * 60:
        return f"{minutes // 1440}d {minutes % 1440 // 60}h"
    return f"{minutes // 60}h {minutes % 60}m" if minutes >= 60 else f"{minutes}m" if minutes else "<1m"


def _history(record: Any) -> History:
    return History(
        record["symbol"], record["expected_minutes"], record["present_minutes"], record["missing_minutes"],
        record["outage_minutes"], record["completeness"],
    )  # fmt: skip


def _row(record: Any) -> list[str]:
    history = _history(record)
    rate = record["per_second"]
    audited = record["audited_until"]
    return [
        history.symbol, bar(history), percent(history), f"{history.missing:,}", f"{history.outage:,}",
        f"{record['open_gaps']:,}", f"{record['fetching']:,}", f"{rate * 60:,.0f}" if rate else "-",
        left(history.missing, rate, record["fetching"]), _time(record["newest_candle"]),
        _time(audited)[:10],
    ]  # fmt: skip


def _time(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")

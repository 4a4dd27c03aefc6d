"""A registered symbol with a market clock, and short ways to fill and read the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.store import candles, symbols

T0 = 1679616000000
"""2023-03-24T00:00:00Z, the first expected minute of ``market``."""


def minute(n: float) -> int:
    return T0 + int(n * MINUTE_MS)


def candle(n: int, close: float = 1.5, *, trades: int = 3, symbol: str = "BTCUSDT") -> Candle:
    return Candle(symbol, minute(n), 1.0, 2.0, 0.5, close, 10.0, 15.0, trades, 5.0, 7.5)


async def store(
    connection: Connection, minutes: Iterable[int], *, source: Source = Source.REST, trades: int = 3
) -> None:
    rows = [candles.Row(candle(n, trades=trades), minute(n + 1) + 20) for n in minutes]
    await candles.write(connection, rows, source=source)


async def ledger_rows(connection: Connection) -> list[tuple[Any, ...]]:
    """Return (event, first minute, last minute exclusive, resolved) of every gap and outage, in order."""
    records = await connection.fetch(
        "SELECT event_type, gap_start, gap_end, resolved FROM data_quality_logs"
        " WHERE event_type IN ('gap', 'outage') ORDER BY gap_start, event_type, id"
    )
    return [
        (r["event_type"], (r["gap_start"] - T0) / MINUTE_MS, (r["gap_end"] - T0) / MINUTE_MS, r["resolved"])
        for r in records
    ]


@pytest.fixture
async def market(connection: Connection) -> Connection:
    """BTCUSDT expected from ``minute(0)``, and a market clock at ``minute(100)`` and 5 s."""
    await connection.execute("SELECT advance_market_clock($1)", minute(100) + 5000)
    await symbols.register(connection, {"BTCUSDT": "TRADING"}, now_ms=minute(1440), history_days=1)
    return connection

"""Rows of the exchange that cannot be candles: each is evidence for the ledger, once."""

from __future__ import annotations

from collections.abc import Sequence

from gap_handler.plan import Run
from gap_handler.queries import QUERIES
from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.database import Connection


async def once(
    connection: Connection, symbol: str, within: Run, rows: Sequence[RestCandle]
) -> Sequence[RestCandle]:
    """Return the rows of ``within`` but for the impossible ones that the ledger holds already."""
    if not any(candle_problem(row.candle) for row in rows):
        return rows
    known = await connection.fetch(QUERIES["known_invalid"], symbol, within.start, within.end)
    noted = {record["time"] for record in known}
    return [row for row in rows if row.candle.time not in noted or candle_problem(row.candle) is None]

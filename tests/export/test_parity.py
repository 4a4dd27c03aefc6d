"""What is exported is what the feature cache holds, to 1e-9, for every feature and row."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tests.conftest import REAL_DATA
from tests.export.conftest import Exported
from tests.export.stored import at, begin, cache, numbers, put, seeded, text
from tests.features.samples import OUTAGE, SYMBOLS, recorded

from marketdata.database import Connection
from marketdata.export.known import TOLERANCE
from marketdata.features.columns import CANDLE_ROW, PRESENT, Floats
from marketdata.features.registry import NAMES
from marketdata.store import ledger

pytestmark = pytest.mark.parity
DAY = 1440
DAYS = 28
COMPARED = int(os.environ.get("EXPORT_PARITY_DAYS", "2"))
"""Days before the end of the 12th of which each symbol's rows are compared; an outage is on that day."""
LAST = 12 * DAY


def candles(symbol: str) -> Floats:
    """28 recorded days, or seeded ones with the same hole, as rows of CANDLE_ROW."""
    if not REAL_DATA.is_dir():
        table = seeded(DAYS * DAY, seed=1 + SYMBOLS.index(symbol))
        return table[(table[:, 0] < OUTAGE[0]) | (table[:, 0] >= OUTAGE[1])]
    minutes = recorded(REAL_DATA, symbol)
    table = np.column_stack([getattr(minutes, name) for name in CANDLE_ROW])
    return table[minutes.state == PRESENT]


async def test_the_export_is_the_cache(connection: Connection, exported: Exported) -> None:
    first, last = (LAST - COMPARED * DAY, LAST) if COMPARED <= 12 else (DAY, DAYS * DAY)
    await begin(connection, list(SYMBOLS), DAYS * DAY)
    for symbol in SYMBOLS:
        await put(connection, symbol, candles(symbol))
        await ledger.record_outage(connection, symbol, *OUTAGE, confirm_seconds=0)
    for symbol in SYMBOLS:
        for start in range(first, last, DAY):
            await cache(connection, symbol, start, start + DAY, known_at=at(DAYS * DAY))
    table = exported(symbols=list(SYMBOLS), start=text(first), end=text(last))
    records = await connection.fetch(
        "SELECT m.* FROM feature_matrix AS m"
        " JOIN unnest($1::text[]) WITH ORDINALITY AS s (symbol, place) USING (symbol)"
        " ORDER BY m.time, s.place",
        list(SYMBOLS),
    )
    assert len(records) == table.num_rows > 0.9 * len(SYMBOLS) * (last - first)
    assert [r["symbol"] for r in records] == table.column("symbol").to_pylist()
    times = numbers(table, "time").astype(np.int64).tolist()
    assert [r["time"] for r in records] == times
    for name in (*NAMES, "window_coverage"):
        ours = numbers(table, name)
        theirs = np.array([r[name] for r in records], dtype=np.float64)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=name)
        worst = np.nanmax(np.abs(ours - theirs), initial=0.0)
        assert worst <= TOLERANCE, (name, worst)

"""What is flat, how far a change of the close before it reaches: the feature rows that must be made stale."""

from __future__ import annotations

import pytest
from tests.database.conftest import candle, minute, store

from marketdata.database import Connection
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import Source
from marketdata.store import candles, ledger

LONG = 2 * MAX_WINDOW
"""Minutes of an outage that no window spans."""


async def marked(connection: Connection) -> list[tuple[float, float]]:
    """Return the stale rows (first, last exclusive) in minutes, and forget them."""
    records = await connection.fetch("DELETE FROM stale_features RETURNING from_time, to_time")
    return [((r["from_time"] - minute(0)) / 60_000, (r["to_time"] - minute(0)) / 60_000) for r in records]


async def confirm(connection: Connection) -> None:
    work = await ledger.claim(connection, lease_seconds=60, max_minutes=10_000)
    assert work is not None
    assert work.is_outage
    await ledger.settle_outage(connection, work.gap.id)


@pytest.mark.parametrize("confirmed", [False, True])
async def test_the_older_part_of_an_outage_gives_the_newer_one_its_price(
    market: Connection, confirmed: bool
) -> None:
    """A gap of days is cut, and its newest piece is looked at first: until the older piece is, nobody
    knows at which price the newer one is flat.
    """
    await market.execute("SELECT advance_market_clock($1)", minute(3 * LONG))
    await store(market, [9, 10 + LONG])
    await ledger.record_outage(market, "BTCUSDT", minute(20), minute(10 + LONG), confirm_seconds=0)
    if confirmed:
        await confirm(market)
    await marked(market)
    await ledger.record_outage(market, "BTCUSDT", minute(10), minute(20), confirm_seconds=0)
    assert max(end for _, end in await marked(market)) == 10 + LONG + MAX_WINDOW


@pytest.mark.parametrize("source", [Source.STREAM, Source.REST])
async def test_a_candle_inside_an_outage_is_the_price_of_the_rest_of_it(
    market: Connection, source: Source
) -> None:
    await market.execute("SELECT advance_market_clock($1)", minute(3 * LONG))
    await store(market, [9, 10 + LONG])
    await ledger.record_outage(market, "BTCUSDT", minute(10), minute(10 + LONG), confirm_seconds=0)
    await marked(market)
    row = candles.Row(candle(15), minute(16))
    await candles.write(market, [row], source=source)
    assert await marked(market) == [(16, 10 + LONG + MAX_WINDOW)]


async def test_a_candle_before_two_outages_in_a_row_reaches_past_both(market: Connection) -> None:
    await market.execute("SELECT advance_market_clock($1)", minute(3 * LONG))
    await store(market, [10 + LONG])
    await ledger.record_outage(market, "BTCUSDT", minute(20), minute(10 + LONG), confirm_seconds=0)
    await confirm(market)
    await ledger.record_outage(market, "BTCUSDT", minute(10), minute(20), confirm_seconds=0)
    await marked(market)
    await store(market, [9])
    assert await marked(market) == [(10, 10 + LONG + MAX_WINDOW)]

"""Minutes that no feeder brings: who finds them, and how soon."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.gap_handler.harness import NOON, NOW, SYMBOL, Connection, coverage, register, rows

from gap_handler.nudge import Nudge
from gap_handler.silence import Silence
from gap_handler.tasks import Idle
from marketdata import database as db
from marketdata.clock import MarketClock
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store.candles import Row, write

OTHER = "ETHUSDT"
START = NOON - 10 * MINUTE_MS
pytestmark = pytest.mark.database


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[asyncpg.Pool]:  # type: ignore[type-arg]
    opened = await db.create_pool(database, "test", 3)
    yield opened
    await opened.close()


@pytest.fixture
async def market(connection: Connection) -> Connection:
    """Two symbols whose history is ten minutes before noon, all there."""
    for symbol in (SYMBOL, OTHER):
        await register(connection, symbol=symbol, history=START)
        await bring(connection, symbol, *range(-10, 0))
    return connection


async def bring(connection: Connection, symbol: str, *minutes: int, source: Source = Source.STREAM) -> None:
    """Store candles of the minutes from noon on."""
    times = [NOON + n * MINUTE_MS for n in minutes]
    of = [Candle(symbol, time, 1.0, 2.0, 0.5, 1.5, 10.0, 15.0, 3, 5.0, 7.5) for time in times]
    await write(connection, [Row(each, each.time + MINUTE_MS) for each in of], source=source)


async def at(connection: Connection, minute: float) -> None:
    """Let the market's clock be ``minute`` minutes after noon."""
    await connection.execute("SELECT advance_market_clock($1)", NOON + int(minute * MINUTE_MS))


async def gaps(connection: Connection) -> list[tuple[str, int, int]]:
    """The open gaps in minutes after noon."""
    return [
        (row["symbol"], (row["gap_start"] - NOON) // MINUTE_MS, (row["gap_end"] - NOON) // MINUTE_MS)
        for row in await rows(connection, "gap")
    ]


async def test_a_minute_that_had_ended_a_look_ago_is_owed(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
) -> None:
    silence = Silence(pool, MarketClock(), Nudge())
    assert await silence.step() is Idle.IDLE
    await at(market, 1.1)
    await bring(market, OTHER, 0)
    await silence.step()
    assert await gaps(market) == [], "it has just ended: its feeder may be about to store it"
    await at(market, 1.4)
    await silence.step()
    assert await gaps(market) == [(SYMBOL, 0, 1)]
    assert (await rows(market, "gap"))[0]["text"] == '{"cause": "unheard"}'
    assert await coverage(market, NOON, NOON + 2 * MINUTE_MS) == [(NOON, NOON + MINUTE_MS, "missing")]
    await bring(market, OTHER, 1)
    await at(market, 2.1)
    await silence.step()
    await at(market, 2.3)
    await silence.step()
    assert await gaps(market) == [(SYMBOL, 0, 2)], "one gap, that grows"


@pytest.mark.parametrize(("silent", "said"), [(9, Counter(gap_detected=10)), (10, Counter(gaps_recorded=1))])
async def test_many_gaps_at_once_are_one_line(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
    caplog: pytest.LogCaptureFixture,
    silent: int,
    said: Counter[str],
) -> None:
    for number in range(silent):
        await register(market, symbol=f"S{number}USDT", history=NOON)
    silence = Silence(pool, MarketClock(), Nudge())
    await at(market, 1.1)
    await bring(market, OTHER, 0)
    await silence.step()
    await at(market, 1.4)
    with caplog.at_level(logging.INFO, "marketdata"):
        await silence.step()
    assert len(await gaps(market)) == silent + 1
    assert Counter(record.getMessage() for record in caplog.records) == said
    if silent == 10:
        fields = caplog.records[0].event_fields  # type: ignore[attr-defined]
        assert (fields["count"], fields["minutes"], fields["cause"]) == (11, 11, "unheard")
        assert len(fields["symbols"]) == 10


async def test_where_the_markets_clock_stands_nothing_is_owed(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
) -> None:
    silence = Silence(pool, MarketClock(), Nudge())
    await at(market, 5)
    await silence.step()
    for _ in range(3):
        assert await silence.step() is Idle.IDLE
    assert await gaps(market) == []


async def test_with_every_feeder_gone_the_exchange_is_heard_here(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
) -> None:
    clock = MarketClock()
    silence = Silence(pool, clock, Nudge())
    for seconds in (130, 150):
        clock.advance(NOON + seconds * 1000)
        await silence.step()
    assert sorted(await gaps(market)) == [(SYMBOL, 0, 2), (OTHER, 0, 2)]
    assert await market.fetchval("SELECT market_now()") == NOON + 150_000


async def test_however_long_nobody_looked_the_whole_tail_is_owed(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
) -> None:
    await register(market, symbol="SOLUSDT", history=START, now=NOW)
    await at(market, 3000)
    silence = Silence(pool, MarketClock(), Nudge())
    await silence.step()
    await at(market, 3000.3)
    await silence.step()
    assert sorted(await gaps(market)) == [(SYMBOL, 0, 3000), (OTHER, 0, 3000), ("SOLUSDT", -10, 3000)]


async def test_symbols_are_named_after_three_minutes_and_until_they_are_heard(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
) -> None:
    silence = Silence(pool, MarketClock(), Nudge())
    await silence.step()
    named = []
    for n in range(1, 12):
        # Its minutes come by REST, which is no feeder.
        await bring(market, SYMBOL, n - 1, source=Source.STREAM if n >= 9 else Source.REST)
        await bring(market, OTHER, n - 1)
        await at(market, n + 0.1)
        await silence.step()
        named.append(silence.problem is not None)
        assert await gaps(market) == []
        if n == 7:
            assert silence.problem is not None
            assert f"1 of the symbols: {SYMBOL};" in silence.problem
    # Unheard from the 3rd minute on, named three minutes later, heard again with the 9th.
    assert named == [False] * 5 + [True] * 3 + [False] * 3


async def test_nobody_waits_for_a_symbol_that_is_no_longer_expected(
    market: Connection,
    pool: asyncpg.Pool,  # type: ignore[type-arg]
) -> None:
    await market.execute("UPDATE symbols SET expected_until = market_now() WHERE symbol = $1", SYMBOL)
    silence = Silence(pool, MarketClock(), Nudge())
    for n in range(1, 9):
        await bring(market, OTHER, n - 1)
        await at(market, n + 0.1)
        await silence.step()
    assert silence.problem is None
    assert await gaps(market) == []

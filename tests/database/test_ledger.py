"""Gaps open once, never overlap, are leased newest first, and close when every minute is accounted for."""

import asyncio

import asyncpg
import pytest
from tests.database.conftest import T0, ledger_rows, minute, store

from marketdata import database as db
from marketdata.database import Connection
from marketdata.errors import LeaseLostError
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger


async def test_holes_become_gaps_once(market: Connection) -> None:
    await store(market, [0, 1, 2, 5, 6, 9])
    first = await ledger.record_missing(market, "BTCUSDT", minute(0), minute(10), "audit")
    again = await ledger.record_missing(market, "BTCUSDT", minute(0), minute(10), "audit")
    assert [(g.start, g.end, g.minutes) for g in first] == [
        (minute(3), minute(5), 2),
        (minute(7), minute(9), 2),
    ]
    assert again == []
    assert await ledger_rows(market) == [("gap", 3, 5, False), ("gap", 7, 9, False)]


async def test_a_larger_hole_joins_what_is_open(market: Connection) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(3), minute(5), "jump")
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(8), "audit")
    assert await ledger_rows(market) == [("gap", 0, 3, False), ("gap", 3, 8, False)]


async def test_many_reporters_at_once_open_each_minute_once(
    market: Connection, database: DatabaseSettings
) -> None:
    others = [await db.connect(database, "test") for _ in range(6)]
    await asyncio.gather(
        *(ledger.record_missing(c, "BTCUSDT", minute(n), minute(n + 20), "x") for n, c in enumerate(others))
    )
    covered = [n for _, start, end, _ in await ledger_rows(market) for n in range(int(start), int(end))]
    assert sorted(covered) == list(range(25))
    for other in others:
        await other.close()


async def test_open_gaps_cannot_overlap(market: Connection) -> None:
    insert = (
        "INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end)"
        " VALUES ('gap', 'BTCUSDT', $1, $2)"
    )
    await market.execute(insert, minute(0), minute(5))
    await market.execute(insert, minute(5), minute(6))
    with pytest.raises(asyncpg.ExclusionViolationError):
        await market.execute(insert, minute(4), minute(7))


async def test_the_newest_gap_is_leased_first_and_large_ones_are_split(market: Connection) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(25), "start")
    await ledger.record_missing(market, "BTCUSDT", minute(50), minute(52), "jump")
    claims = [await ledger.claim(market, lease_seconds=60, max_minutes=10) for _ in range(5)]
    spans = [(c.gap.start, c.gap.end) for c in claims if c]
    assert spans == [
        (minute(50), minute(52)), (minute(15), minute(25)), (minute(5), minute(15)), (minute(0), minute(5)),
    ]  # fmt: skip
    assert claims[4] is None
    missing = await market.fetchval("SELECT sum(candles_missing) FROM data_quality_logs")
    assert missing == 27, "splitting counts no minute twice"
    parents = await market.fetch(
        "SELECT DISTINCT detail -> 'parent' AS p FROM data_quality_logs WHERE detail ? 'parent'"
    )
    assert len(parents) == 1


async def test_two_workers_never_hold_the_same_gap(market: Connection, database: DatabaseSettings) -> None:
    for n in range(0, 60, 3):
        await ledger.record_missing(market, "BTCUSDT", minute(n), minute(n + 2), "x")
    others = [await db.connect(database, "test") for _ in range(4)]

    async def drain(c: Connection) -> list[int]:
        ids = []
        while work := await ledger.claim(c, lease_seconds=60, max_minutes=100):
            ids.append(work.gap.id)
        return ids

    taken = [i for ids in await asyncio.gather(*(drain(c) for c in others)) for i in ids]
    assert len(taken) == len(set(taken))
    # A row locked by one worker is skipped by another, so a round may leave some behind: take them now.
    taken += await drain(market)
    assert len(taken) == len(set(taken)) == 20
    for other in others:
        await other.close()


async def test_a_dead_workers_lease_ends(market: Connection) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(5), "x")
    held = await ledger.claim(market, lease_seconds=0.2, max_minutes=100)
    assert held is not None
    assert await ledger.claim(market, lease_seconds=60, max_minutes=100) is None
    await asyncio.sleep(0.25)
    again = await ledger.claim(market, lease_seconds=60, max_minutes=100)
    assert again is not None
    assert (again.gap.id, again.attempts) == (held.gap.id, 2)


async def test_a_gap_closes_only_when_every_minute_is_accounted_for(market: Connection) -> None:
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(0), minute(5), "x")
    await store(market, [0, 1, 2])
    assert not await ledger.settle_gap(market, gap.id, recovered=3, retry_seconds=60, reason="not there yet")
    assert await ledger.claim(market, lease_seconds=60, max_minutes=100) is None, "waits for its retry"
    await ledger.record_outage(market, "BTCUSDT", minute(3), minute(5), confirm_seconds=3600)
    assert await ledger.settle_gap(market, gap.id, recovered=0, retry_seconds=60, reason="")
    record = await market.fetchrow("SELECT * FROM data_quality_logs WHERE id = $1", gap.id)
    assert record is not None
    assert (record["candles_recovered"], record["resolved"]) == (3, True)
    assert record["resolved_at"] is not None


async def test_minutes_before_the_first_kline_are_not_owed(market: Connection) -> None:
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(0), minute(5), "x")
    await market.execute("UPDATE symbols SET first_kline = $1", minute(3))
    await store(market, [3, 4])
    assert await ledger.settle_gap(market, gap.id, recovered=2, retry_seconds=60, reason="")


async def test_an_outage_is_confirmed_an_hour_of_market_time_later(market: Connection) -> None:
    await store(market, [0, 1, 8, 9])
    await ledger.record_outage(market, "BTCUSDT", minute(2), minute(8), confirm_seconds=3600)
    assert await ledger_rows(market) == [("outage", 2, 8, False)]
    assert await ledger.claim(market, lease_seconds=60, max_minutes=100) is None
    assert await ledger.record_missing(market, "BTCUSDT", minute(0), minute(10), "audit") == []
    await market.execute("SELECT advance_market_clock($1)", minute(160) + 5000)
    work = await ledger.claim(market, lease_seconds=60, max_minutes=3)
    assert work is not None
    assert work.is_outage
    assert (work.gap.start, work.gap.end) == (minute(2), minute(8)), "an outage is looked at whole"
    await ledger.settle_outage(market, work.gap.id)
    assert await ledger_rows(market) == [("outage", 2, 8, True)]


async def test_pieces_of_one_outage_become_one(market: Connection) -> None:
    await ledger.record_outage(market, "BTCUSDT", minute(10), minute(20), confirm_seconds=60)
    await ledger.record_outage(market, "BTCUSDT", minute(30), minute(40), confirm_seconds=60)
    await ledger.record_outage(market, "BTCUSDT", minute(20), minute(30), confirm_seconds=60)
    assert await ledger_rows(market) == [("outage", 10, 40, False)]
    await ledger.record_outage(market, "BTCUSDT", minute(5), minute(45), confirm_seconds=60)
    assert await ledger_rows(market) == [("outage", 5, 45, False)]


async def test_confirmed_neighbours_become_one(market: Connection) -> None:
    for start, end in ((10, 20), (20, 30)):
        await ledger.record_outage(market, "BTCUSDT", minute(start), minute(end), confirm_seconds=0)
        work = await ledger.claim(market, lease_seconds=60, max_minutes=100)
        assert work is not None
        await ledger.settle_outage(market, work.gap.id)
    assert await ledger_rows(market) == [("outage", 10, 30, True)]


async def test_what_the_second_look_finds_is_a_repaired_gap(market: Connection) -> None:
    await ledger.record_outage(market, "BTCUSDT", minute(2), minute(8), confirm_seconds=0)
    work = await ledger.claim(market, lease_seconds=60, max_minutes=100)
    assert work is not None
    await store(market, [4, 5])
    await ledger.settle_outage(market, work.gap.id)
    assert await ledger_rows(market) == [
        ("outage", 2, 4, True), ("gap", 4, 6, True), ("outage", 6, 8, True),
    ]  # fmt: skip


async def test_a_provisional_outage_makes_its_features_stale(market: Connection) -> None:
    await ledger.record_outage(market, "BTCUSDT", minute(2), minute(8), confirm_seconds=60)
    assert await market.fetchval("SELECT from_time FROM stale_features") == minute(3)


async def test_a_halt_that_goes_on_stays_one_gap_and_lets_others_pass(market: Connection) -> None:
    await ledger.record_missing(market, "BTCUSDT", minute(0), minute(5), "older")
    for n in range(20, 60):
        await ledger.record_missing(market, "BTCUSDT", minute(20), minute(n + 1), "silence")
    assert await ledger_rows(market) == [("gap", 0, 5, False), ("gap", 20, 60, False)]
    for _ in range(4):
        work = await ledger.claim(market, lease_seconds=60, max_minutes=100)
        assert work is not None
        assert work.gap.start == minute(20)
        await ledger.release(market, work.gap.id, retry_seconds=-1, reason="halted")
    work = await ledger.claim(market, lease_seconds=60, max_minutes=100)
    assert work is not None
    assert work.gap.start == minute(0), "what keeps waiting lets the others pass"


async def test_two_ends_of_one_second_look_count_it_once(
    market: Connection, database: DatabaseSettings
) -> None:
    await ledger.record_outage(market, "BTCUSDT", minute(2), minute(8), confirm_seconds=0)
    work = await ledger.claim(market, lease_seconds=60, max_minutes=100)
    assert work is not None
    await store(market, range(2, 8))
    others = [await db.connect(database, "test") for _ in range(4)]
    ends = await asyncio.gather(
        *(ledger.settle_outage(c, work.gap.id) for c in others), return_exceptions=True
    )
    assert [type(end) for end in ends if end is not None] == [LeaseLostError] * 3
    assert await ledger_rows(market) == [("gap", 2, 8, True)]
    for other in others:
        await other.close()


async def test_somebody_may_ask_for_another_look_at_a_confirmed_outage(market: Connection) -> None:
    await ledger.record_outage(market, "BTCUSDT", minute(2), minute(8), confirm_seconds=0)
    work = await ledger.claim(market, lease_seconds=60, max_minutes=100)
    assert work is not None
    await ledger.settle_outage(market, work.gap.id)
    assert await ledger.record_missing(market, "BTCUSDT", minute(2), minute(8), "audit") == []
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(2), minute(8), "request", reopen=True)
    assert await ledger.settle_gap(market, gap.id, recovered=0, retry_seconds=1, reason="")
    assert await ledger_rows(market) == [("gap", 2, 8, True), ("outage", 2, 8, True)]


DAY = 1440
YESTERDAY = -1440
"""``minute(0)`` is a midnight, the market's clock is 100 minutes past it."""


async def pieces(market: Connection, most: int = 31 * DAY) -> list[tuple[float, float]]:
    """Claim all there is and return it in minutes."""
    found = []
    while work := await ledger.claim(market, lease_seconds=60, max_minutes=most):
        found.append(((work.gap.start - T0) / MINUTE_MS, (work.gap.end - T0) / MINUTE_MS))
    return found


async def test_history_is_cut_by_the_calendar_newest_first(market: Connection) -> None:
    march, february = -23 * DAY, -(23 + 28) * DAY
    start = february - 3 * DAY - 7
    await ledger.record_missing(market, "BTCUSDT", minute(start), minute(99), "start")
    assert await pieces(market) == [
        (YESTERDAY, 99), (march, YESTERDAY), (february, march), (start, february),
    ]  # fmt: skip
    missing = await market.fetchval("SELECT sum(candles_missing) FROM data_quality_logs")
    assert missing == 99 - start, "cutting counts no minute twice"


async def test_live_ends_of_all_symbols_come_before_older_months(market: Connection) -> None:
    for symbol in ("A", "B", "C"):
        await market.execute(
            "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)",
            symbol,
            minute(-60 * DAY),
        )
        await ledger.record_missing(market, symbol, minute(-40 * DAY), minute(99), "start")
    found = await pieces(market)
    assert found == [(YESTERDAY, 99)] * 3 + [(-23 * DAY, YESTERDAY)] * 3 + [(-40 * DAY, -23 * DAY)] * 3


async def test_the_edges_of_days_months_and_years(market: Connection) -> None:
    # Shorter than a day: whole, across yesterday's midnight and across a month's.
    await ledger.record_missing(market, "BTCUSDT", minute(YESTERDAY - 700), minute(YESTERDAY + 700), "x")
    await ledger.record_missing(market, "BTCUSDT", minute(-23 * DAY - 700), minute(-23 * DAY + 700), "x")
    # Nearly a month, and one across the turn of the year.
    await ledger.record_missing(market, "BTCUSDT", minute(-51 * DAY), minute(-24 * DAY), "x")
    await ledger.record_missing(market, "BTCUSDT", minute(-84 * DAY), minute(-80 * DAY), "x")
    assert await pieces(market) == [
        (YESTERDAY - 700, YESTERDAY + 700), (-23 * DAY - 700, -23 * DAY + 700), (-51 * DAY, -24 * DAY),
        (-82 * DAY, -80 * DAY), (-84 * DAY, -82 * DAY),
    ]  # fmt: skip


async def test_a_market_without_a_clock_is_cut_by_the_month(connection: Connection) -> None:
    await ledger.record_missing(connection, "BTCUSDT", minute(-24 * DAY), minute(99), "x")
    assert await pieces(connection) == [(-23 * DAY, 99), (-24 * DAY, -23 * DAY)]


async def test_the_minute_in_which_a_symbol_is_given_up_is_not_owed(market: Connection) -> None:
    await store(market, range(99))
    (gap,) = await ledger.record_missing(market, "BTCUSDT", minute(99), minute(101), "late")
    await market.execute("UPDATE symbols SET expected_until = market_now()")  # five seconds into the minute
    await store(market, [99])
    assert await ledger.settle_gap(market, gap.id, recovered=1, retry_seconds=0, reason="")
    owed = await market.fetchval("SELECT upper(range_merge(owed_minutes('BTCUSDT')))")
    assert owed == minute(100) == await market.fetchval("SELECT upper(expected_range('BTCUSDT'))")

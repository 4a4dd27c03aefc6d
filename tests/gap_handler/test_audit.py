"""The nightly audit: what differs from the exchange's record is corrected, opened or noted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from tests.gap_handler.harness import (
    DAY_MS,
    HOUR_MS,
    NOON,
    NOW,
    SYMBOL,
    Connection,
    coverage,
    eventually,
    expected,
    handler,
    register,
    rows,
    stored,
)

from exchange_simulator import Simulator
from gap_handler.audit import Audit, Report
from gap_handler.comparison import compare, either, runs_of
from gap_handler.exchange import Exchange
from gap_handler.nudge import Nudge
from gap_handler.plan import Run
from marketdata import database as db
from marketdata import metrics
from marketdata.binance.rest import RestCandle
from marketdata.clock import MarketClock, SystemClock
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles
from marketdata.store.ledger import Gap, record_missing, record_outage

TODAY = NOON - 12 * HOUR_MS
YESTERDAY = TODAY - DAY_MS


def row(n: int, *, close: float = 2.0, low: float = 1.0) -> RestCandle:
    time = YESTERDAY + n * MINUTE_MS
    return RestCandle(Candle(SYMBOL, time, 2.0, 3.0, low, close, 1.0, 2.0, 1, 0.5, 1.0), time + 59_999)


def minutes(*numbers: int) -> set[int]:
    return {YESTERDAY + n * MINUTE_MS for n in numbers}


def run(first: int, last: int) -> Run:
    return Run(YESTERDAY + first * MINUTE_MS, YESTERDAY + last * MINUTE_MS)


def test_two_records_are_set_against_each_other() -> None:
    answer = [row(0), row(1), row(2), row(5, low=0), row(6), row(8)]
    found = compare(answer, minutes(0, 3, 5, 8))
    assert found.shared == [row(0), row(8)]
    assert found.refused == [row(5, low=0)]
    assert found.missing == [run(1, 3), run(6, 7)]
    assert found.unconfirmed == [run(3, 4).start], "a refused row is there all the same"
    assert runs_of([]) == []
    assert either([row(0), row(2)], [row(2, close=2.5), row(3)]) == [row(0), row(2, close=2.5), row(3)]


@asynccontextmanager
async def auditor(
    database: DatabaseSettings, simulator: Simulator, *, days: int = 1, corrected: list[Gap] | None = None
) -> AsyncIterator[Audit]:
    async def on_corrected(gap: Gap) -> None:
        if corrected is not None:
            corrected.append(gap)

    pool, market, clock = await db.create_pool(database, "test", 3), MarketClock(), SystemClock()
    exchange = Exchange([simulator.api_url], market, clock)
    yield Audit(pool, exchange, market, clock, Nudge(), days=days, on_corrected=on_corrected)
    await exchange.close()
    await pool.close()


async def fill(
    connection: Connection,
    simulator: Simulator,
    start: int = YESTERDAY,
    end: int = TODAY,
    *,
    symbol: str = SYMBOL,
) -> None:
    found = [candles.Row(c, c.time + 60_020) for c in simulator.candles(symbol, start, end)]
    await candles.write(connection, found, source=Source.STREAM, head=True)


async def spoil(connection: Connection, n: int, source: Source) -> int:
    """Store another volume for a minute of yesterday; return its open."""
    time = YESTERDAY + n * MINUTE_MS
    await connection.execute(
        "UPDATE candles_1m SET volume = volume + 1, source = $2 WHERE time = $1", time, source.value
    )
    return time


async def audited(connection: Connection, symbol: str = SYMBOL) -> int | None:
    found: int | None = await connection.fetchval(
        "SELECT audited_until FROM symbols WHERE symbol = $1", symbol
    )
    return found


@pytest.mark.database
async def test_what_differs_is_corrected_and_what_it_replaced_is_kept(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    spoilt = ((3, Source.STREAM), (700, Source.REST), (1439, Source.ARCHIVE))
    times = [await spoil(ledger, n, source) for n, source in spoilt]
    wrong = {c.time: c.volume for c in await stored(ledger)}
    counted = metrics.AUDITED_CANDLES._value.get()
    corrected: list[Gap] = []
    async with auditor(database, simulator, corrected=corrected) as audit:
        await audit.step()
        assert await stored(ledger) == expected(simulator, YESTERDAY, TODAY)
        found = await rows(ledger, "revision")
        assert [row["gap_start"] for row in found] == times
        assert [orjson.loads(row["text"])["old"]["volume"] for row in found] == [wrong[t] for t in times]
        assert [orjson.loads(row["text"])["old"]["source"] for row in found] == ["stream", "rest", "archive"]
        known = await ledger.fetch(
            "SELECT time, source FROM candles_1m WHERE known_at = $1 ORDER BY time", NOW
        )
        assert [tuple(k) for k in known] == [(time, "rest") for time in times], "the others are untouched"
        stale = await ledger.fetch("SELECT from_time, to_time FROM stale_features ORDER BY from_time")
        for time in times:
            assert any(s["from_time"] <= time + MINUTE_MS < s["to_time"] for s in stale)
        assert metrics.AUDITED_CANDLES._value.get() - counted == 1440
        assert len(corrected) == 2, "the bars of both pages are brought up to date"
        assert await audited(ledger) == TODAY
        await ledger.execute("UPDATE symbols SET audited_until = NULL")
        await ledger.execute("DELETE FROM stale_features")
        before = await ledger.fetch("SELECT ctid, xmin FROM candles_1m ORDER BY time")
        await audit.step()
        assert await ledger.fetch("SELECT ctid, xmin FROM candles_1m ORDER BY time") == before
    assert len(await rows(ledger, "revision")) == 3
    assert await ledger.fetchval("SELECT count(*) FROM stale_features") == 0
    assert await audited(ledger) == TODAY
    assert await rows(ledger, "gap") == []


@pytest.mark.database
async def test_what_is_missing_becomes_a_gap_even_inside_a_confirmed_outage(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    # Both on one page: after it the audit would wait for their repair.
    hole, halt = run(1_100, 1_110), run(1_200, 1_230)
    for lost in (hole, halt):
        await ledger.execute("DELETE FROM candles_1m WHERE time >= $1 AND time < $2", lost.start, lost.end)
    await record_outage(ledger, SYMBOL, halt.start, halt.end, confirm_seconds=0)
    await ledger.execute("UPDATE data_quality_logs SET resolved = true WHERE event_type = 'outage'")
    # The second half of the outage is one at the exchange, too.
    simulator.faults.add("rest_missing_rows", start=halt.start + 15 * MINUTE_MS, end=halt.end)
    async with auditor(database, simulator) as audit:
        await audit.step()
    gaps = await rows(ledger, "gap")
    assert [(gap["gap_start"], gap["gap_end"], gap["resolved"]) for gap in gaps] == [
        (hole.start, hole.end, False),
        (halt.start, halt.start + 15 * MINUTE_MS, False),
    ]
    assert {orjson.loads(gap["text"])["cause"] for gap in gaps} == {"audit"}
    assert len(await stored(ledger)) == 1440 - 40, "the audit itself inserts nothing"
    assert await audited(ledger) == TODAY


@pytest.mark.database
async def test_candles_the_exchange_does_not_have_are_kept_and_noted_once(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    before = await stored(ledger)
    lags = simulator.faults.add("rest_missing_rows", start=run(20, 21).start, end=run(20, 25).end, count=1)
    simulator.faults.add("rest_missing_rows", start=run(500, 501).start, end=run(500, 503).end)
    counted = metrics.AUDIT_DIFFERENCES.labels("unconfirmed")._value.get()
    async with auditor(database, simulator) as audit:
        for _ in range(2):
            await ledger.execute("UPDATE symbols SET audited_until = NULL")
            await audit.step()
    assert lags.fired == 1
    noted = await rows(ledger, "revision")
    assert [note["gap_start"] for note in noted] == [run(n, n + 1).start for n in (500, 501, 502)]
    details = [orjson.loads(note["text"]) for note in noted]
    assert all(detail["rest"] is None for detail in details)
    assert [detail["old"]["close"] for detail in details] == [before[n].close for n in (500, 501, 502)]
    assert metrics.AUDIT_DIFFERENCES.labels("unconfirmed")._value.get() - counted == 3
    assert await stored(ledger) == before
    assert await rows(ledger, "gap") == []


@pytest.mark.database
async def test_an_impossible_row_of_the_exchange_is_noted_once(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    before = await stored(ledger)
    day = simulator.market.source.day(SYMBOL, YESTERDAY // DAY_MS)
    assert day is not None
    position = day.position(40)
    assert position is not None
    day.table[position, 3] = 0  # its low
    async with auditor(database, simulator) as audit:
        for _ in range(2):
            await ledger.execute("UPDATE symbols SET audited_until = NULL")
            await audit.step()
    assert [row["gap_start"] for row in await rows(ledger, "invalid")] == [run(40, 41).start]
    assert await rows(ledger, "revision") == []
    assert await stored(ledger) == before


@pytest.mark.database
@pytest.mark.parametrize(
    ("time", "days", "until"),
    [
        (TODAY + 4 * HOUR_MS - 1, 1, YESTERDAY),
        (TODAY + 4 * HOUR_MS, 1, TODAY),
        (TODAY + 4 * HOUR_MS, 2, TODAY),
    ],
)
async def test_only_finished_days_are_audited_from_four_oclock_of_market_time_on(
    database: DatabaseSettings, connection: Connection, simulator: Simulator, time: int, days: int, until: int
) -> None:
    await register(connection, now=time)
    await fill(connection, simulator, TODAY - 3 * DAY_MS, TODAY)
    compared = metrics.AUDITED_CANDLES._value.get()
    asked = simulator.faults.add("rest_delay", seconds=0.0, path="klines")
    async with auditor(database, simulator, days=days) as audit:
        await audit.step()
        assert await audited(connection) == until
        assert metrics.AUDITED_CANDLES._value.get() - compared == days * 1440
        fired = asked.fired
        await audit.step()
        assert asked.fired == fired, "once a night"
    assert await rows(connection, "gap") == []


@pytest.mark.database
async def test_missed_nights_are_made_up_for(
    database: DatabaseSettings, connection: Connection, simulator: Simulator
) -> None:
    await register(connection, now=TODAY + 12 * HOUR_MS)
    await fill(connection, simulator, TODAY - 3 * DAY_MS, TODAY)
    await connection.execute("UPDATE symbols SET audited_until = $1", TODAY - 3 * DAY_MS)
    compared = metrics.AUDITED_CANDLES._value.get()
    async with auditor(database, simulator, days=1) as audit:
        await audit.step()
    assert await audited(connection) == TODAY
    assert metrics.AUDITED_CANDLES._value.get() - compared == 3 * 1440


@pytest.mark.database
async def test_nothing_is_due_before_the_exchange_was_heard_or_without_expected_minutes(
    database: DatabaseSettings, connection: Connection, simulator: Simulator
) -> None:
    await connection.execute(
        "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)", SYMBOL, NOON
    )
    asked = simulator.faults.add("rest_delay", seconds=0.0)
    async with auditor(database, simulator) as audit:
        await audit.step()
        await connection.execute("SELECT advance_market_clock($1)", NOW)
        await audit.step()
    assert asked.fired == 0
    assert await audited(connection) is None


@pytest.mark.database
async def test_an_audit_cut_short_is_done_again_and_one_symbol_has_one_auditor(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    slow = simulator.faults.add("rest_delay", seconds=60.0, path="klines")
    async with auditor(database, simulator) as first, auditor(database, simulator) as second:
        stuck = asyncio.create_task(first.step())

        async def asking() -> bool:
            return slow.fired == 1

        await eventually(asking)
        held = await ledger.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
        )
        assert held == 0, "no transaction is open over a request"
        await second.step()
        assert await second.audit(SYMBOL, YESTERDAY, TODAY) is None
        assert (slow.fired, await audited(ledger)) == (1, None)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        simulator.faults.clear(slow.id)
        await second.step()
        assert await audited(ledger) == TODAY


@pytest.mark.database
async def test_the_audit_gives_way_to_repairs(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gap_handler.audit._YIELD_SECONDS", 0.05)
    await fill(ledger, simulator)
    await record_missing(ledger, SYMBOL, NOON - HOUR_MS, NOON, "jump")
    asked = simulator.faults.add("rest_delay", seconds=0.0, path="klines")
    async with auditor(database, simulator) as audit:
        night = asyncio.create_task(audit.step())
        done, _ = await asyncio.wait({night}, timeout=0.5)
        assert not done
        assert asked.fired == 0
        await ledger.execute("UPDATE data_quality_logs SET lease_until = now() + interval '1 hour'")
        await asyncio.wait_for(night, 20)
    assert await audited(ledger) == TODAY


@pytest.mark.database
async def test_a_failing_exchange_postpones_the_audit(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    fault = simulator.faults.add("rest_status", status=400, code=-1121, msg="Invalid symbol.")
    async with auditor(database, simulator) as audit:
        await audit.step()
        await audit.step()
        assert fault.fired == 1, "not asked again at once"
        assert await audited(ledger) is None
        simulator.faults.clear(fault.id)
        audit._postponed.clear()
        await audit.step()
    assert await audited(ledger) == TODAY


@pytest.mark.database
async def test_any_range_is_audited_on_request_but_no_minute_that_is_not_over(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator, NOON - HOUR_MS, NOON - 10 * MINUTE_MS)
    async with auditor(database, simulator) as audit:
        report = await audit.audit(SYMBOL, NOON - 2 * HOUR_MS, NOON + HOUR_MS)
    assert report == Report(compared=50, corrected=0, missing=70, unconfirmed=0)
    assert [(gap["gap_start"], gap["gap_end"]) for gap in await rows(ledger, "gap")] == [
        (NOON - 2 * HOUR_MS, NOON - HOUR_MS),
        (NOON - 10 * MINUTE_MS, NOON),
    ]
    assert await audited(ledger) is None, "only the night counts as done"


@pytest.mark.database
async def test_what_is_not_expected_is_not_audited(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    asked = simulator.faults.add("rest_delay", seconds=0.0)
    async with auditor(database, simulator) as audit:
        assert await audit.audit(SYMBOL, NOON - 7 * DAY_MS, NOON - 6 * DAY_MS) == Report(0, 0, 0, 0)
        assert await audit.audit("NONEUSDT", NOON - DAY_MS, NOON) == Report(0, 0, 0, 0)
    assert asked.fired == 0


@pytest.mark.database
async def test_a_running_handler_audits_and_repairs(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    await fill(ledger, simulator)
    hole = run(300, 330)
    await spoil(ledger, 5, Source.STREAM)
    await ledger.execute("DELETE FROM candles_1m WHERE time >= $1 AND time < $2", hole.start, hole.end)
    async with handler(database, simulator.api_url, AUDIT_DAYS="1"):

        async def repaired() -> bool:
            return [row["resolved"] for row in await rows(ledger, "gap")] == [True]

        await eventually(repaired, seconds=30)

        async def done() -> bool:
            return await audited(ledger) == TODAY

        await eventually(done)
    assert await stored(ledger) == expected(simulator, YESTERDAY, TODAY)
    assert [status for *_, status in await coverage(ledger, YESTERDAY, TODAY)] == [
        "stream", "rest", "stream", "rest", "stream",
    ]  # fmt: skip


@pytest.mark.database
async def test_a_minute_that_rest_has_not_settled_is_left_alone(
    database: DatabaseSettings, connection: Connection, simulator: Simulator
) -> None:
    await register(connection, now=NOON + 200)
    found = [candles.Row(c, NOON + 100) for c in simulator.candles(SYMBOL, NOON - 10 * MINUTE_MS, NOON)]
    await candles.write(connection, found, source=Source.STREAM, head=True)
    async with auditor(database, simulator) as audit:
        report = await audit.audit(SYMBOL, NOON - 10 * MINUTE_MS, NOON)
    assert report == Report(compared=9, corrected=0, missing=0, unconfirmed=0)

"""Minutes the exchange does not have either: provisional, then confirmed, and never taken for granted."""

from __future__ import annotations

import orjson
import pytest
from tests.gap_handler.harness import (
    HOUR_MS,
    NOON,
    NOW,
    SYMBOL,
    Connection,
    coverage,
    eventually,
    expected,
    handler,
    rows,
    stored,
)

from exchange_simulator import Simulator
from exchange_simulator.market import Span
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

pytestmark = pytest.mark.database

START, END = NOON - 2 * HOUR_MS, NOON
HALT_START, HALT_END = NOON - 90 * MINUTE_MS, NOON - 70 * MINUTE_MS


async def at(simulator: Simulator, ledger: Connection, now: int) -> None:
    """Let market time be ``now`` at the exchange and, as the feeder would, in the database."""
    simulator.clock.jump(now)
    await ledger.execute("SELECT advance_market_clock($1)", now)


async def outage_resolved(ledger: Connection) -> bool:
    return [row["resolved"] for row in await rows(ledger, "outage")] == [True]


async def test_a_halt_inside_a_gap_is_provisional_for_an_hour_of_market_time(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    simulator.market.set_halts([Span(None, HALT_START, HALT_END)])
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, START, END)).json()["id"]
        done = await service.until(job, "completed")
        assert (done["candles_recovered"], done["candles_missing"], done["outage_minutes"]) == (100, 20, 20)
        (outage,) = await rows(ledger, "outage")
        assert (outage["gap_start"], outage["gap_end"], outage["resolved"]) == (HALT_START, HALT_END, False)
        assert orjson.loads(outage["text"])["confirmed"] is False
        assert outage["next_look_at"] == NOW + HOUR_MS
        assert (HALT_START, HALT_END, "missing") in await coverage(ledger, START, END)

        await at(simulator, ledger, NOW + HOUR_MS)
        await eventually(lambda: outage_resolved(ledger))
        (outage,) = await rows(ledger, "outage")
        assert orjson.loads(outage["text"])["confirmed"] is True
        assert await coverage(ledger, START, END) == [
            (START, HALT_START, "rest"),
            (HALT_START, HALT_END, "outage"),
            (HALT_END, END, "rest"),
        ]
        assert (await service.status(job))["candles_missing"] == 0
    assert await stored(ledger) == expected(simulator, START, END)


async def test_minutes_that_come_back_before_the_second_look_are_stored(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    fault = simulator.faults.add("rest_missing_rows", start=HALT_START, end=HALT_END)
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, START, END)).json()["id"]
        await service.until(job, "completed")
        assert len(await rows(ledger, "outage")) == 1
        simulator.faults.clear(fault.id)
        await at(simulator, ledger, NOW + HOUR_MS)

        async def repaired() -> bool:
            return not await rows(ledger, "outage")

        await eventually(repaired)
    assert await stored(ledger) == expected(simulator, START, END)
    assert await coverage(ledger, START, END) == [(START, END, "rest")]


async def test_a_halt_that_lasts_is_not_called_an_outage(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    simulator.market.set_halts([Span(None, HALT_START, NOW + HOUR_MS)])
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, START, END)).json()["id"]
        waiting = await service.until(job, "waiting")
        assert waiting["candles_missing"] == 90
        assert "halted" in waiting["waiting_for"]
        assert not await rows(ledger, "outage")
        # The market is back, but its first minute is not over: still nobody's outage.
        simulator.market.set_halts([Span(None, HALT_START, NOON)])
        simulator.clock.jump(NOW + 10_000)
        assert (await service.until(job, "waiting"))["outage_minutes"] == 0
        simulator.clock.jump(NOON + MINUTE_MS + 1_500)
        await service.until(job, "completed", seconds=30)
    (outage,) = await rows(ledger, "outage")
    assert (outage["gap_start"], outage["gap_end"]) == (HALT_START, NOON)


async def test_a_confirmed_outage_is_looked_at_again_on_request(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    fault = simulator.faults.add("rest_missing_rows", start=HALT_START, end=HALT_END)
    async with handler(database, simulator.api_url, OUTAGE_CONFIRM_SECONDS="1") as service:
        await service.until((await service.post(SYMBOL, START, END)).json()["id"], "completed")
        await at(simulator, ledger, NOW + 2_000)
        await eventually(lambda: outage_resolved(ledger))

        again = (await service.post(SYMBOL, HALT_START, HALT_END)).json()
        assert again["status"] == "open"
        await service.until(again["id"], "completed")
        assert await outage_resolved(ledger), "nothing new: it stays what it was"

        simulator.faults.clear(fault.id)
        again = (await service.post(SYMBOL, HALT_START, HALT_END)).json()
        done = await service.until(again["id"], "completed")
    assert done["candles_recovered"] == 20
    assert await coverage(ledger, START, END) == [(START, END, "rest")]


async def test_a_delisted_symbols_record_ends_where_the_exchanges_does(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    simulator.market.set_halts([Span(None, HALT_START, NOW + HOUR_MS)])
    await ledger.execute("UPDATE symbols SET status = 'DELISTED', expected_until = $1", END)
    async with handler(database, simulator.api_url) as service:
        job = (await service.post(SYMBOL, START, END)).json()["id"]
        await service.until(job, "completed")
    assert await ledger.fetchval("SELECT expected_until FROM symbols") == HALT_START
    assert await rows(ledger, "outage") == []
    assert (await coverage(ledger, START, END))[-1] == (START, HALT_START, "rest")

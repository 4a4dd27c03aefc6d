"""Rows that compare with the reference, whenever its candle comes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.feeder.conftest import eventually
from tests.feeder.feature_rows import (
    SYMBOLS,
    HandClock,
    at,
    computed,
    history,
    like_batch,
    nothing_stale,
    rows_held_back,
    running,
    settled,
    write,
)

from data_feeder import waiting
from marketdata import database as db
from marketdata.database import Connection
from marketdata.features.columns import REFERENCE, Columns
from marketdata.features.registry import NAMES
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger, windows

OTHERS = [symbol for symbol in SYMBOLS if symbol != REFERENCE]
_BESIDE = "SELECT symbol, values[$1] IS NOT NULL AS beside FROM feature_values WHERE time = $2"
HISTORY = 300


async def rows_of(connection: Connection, n: int) -> dict[str, bool]:
    """Which symbols have a row that ends with minute ``n``, and whether it compares with the reference."""
    place = NAMES.index("btc_correlation_60m") + 1
    return {r["symbol"]: r["beside"] for r in await connection.fetch(_BESIDE, place, at(n + 1))}


async def has_rows(connection: Connection, n: int, *symbols: str) -> None:
    async def there() -> bool:
        return set(symbols) <= set(await rows_of(connection, n))

    await eventually(there, f"rows of minute {n} of {symbols}", 60)


async def test_rows_wait_for_the_references_candle(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, HISTORY)
    clock = HandClock()
    async with running(database, clock) as task:
        await settled(connection)
        for n in range(2):
            task.offer(await write(connection, "ETHUSDT", [n], head=True), [], True)
            clock.pass_by(0.4)
            if n:
                # A turn that has something to do does not take what waits with it.
                task.offer(await write(connection, "SOLUSDT", [0], head=True), [], True)
                await has_rows(connection, 0, "SOLUSDT")
                assert await rows_of(connection, 1) == {}
            task.offer(await write(connection, REFERENCE, [n], head=True), [], True)
            await has_rows(connection, n, "ETHUSDT", REFERENCE)
            assert (await rows_of(connection, n))["ETHUSDT"]
        assert await nothing_stale(connection), "no row was written without it"
        assert await like_batch(connection)


async def test_what_waits_for_the_reference_is_computed_ahead(
    database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a whole market; and a repair meanwhile is not overtaken by what was computed before it."""
    monkeypatch.setattr(waiting, "GATHERED_FROM", 0)
    monkeypatch.setattr(waiting, "TOGETHER_MOST", 1)
    reads = []
    load = windows.load_windows

    async def loaded(*args: Any, **named: Any) -> Columns:
        reads.append(args)
        return await load(*args, **named)

    monkeypatch.setattr(windows, "load_windows", loaded)
    await history(connection, HISTORY)
    clock = HandClock()
    async with running(database, clock) as task:
        await settled(connection)

        async def ahead() -> bool:
            return set(task._computer._ahead) == set(OTHERS)

        for n in range(4):
            for symbol in OTHERS:
                task.offer(await write(connection, symbol, [n], head=True), [], True)
            await eventually(ahead, "the others are computed ahead", 60)
            assert await rows_of(connection, n) == {}
            reads.clear()
            if n == 1:
                await write(connection, "ETHUSDT", [0], seed=1)
                clock.pass_by(0.5)
            if n == 2:
                clock.pass_by(1.0)
                await has_rows(connection, n, *OTHERS)
                assert not any((await rows_of(connection, n)).values())
            task.offer(await write(connection, REFERENCE, [n], head=True), [], True)
            if n == 2:
                clock.pass_by(1.0)
            await has_rows(connection, n, *SYMBOLS)
            assert not task._computer._ahead
            if n in (1, 2):
                clock.pass_by(1.0)
                await settled(connection)
        assert all((await rows_of(connection, 3)).values())
        assert not reads, "the board was enough"
        assert await like_batch(connection)


async def test_a_row_is_written_without_the_reference_and_again_with_it(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, HISTORY)
    clock = HandClock()
    async with running(database, clock) as task:
        await settled(connection)
        items = [item for symbol in OTHERS for item in await write(connection, symbol, [0], head=True)]
        task.offer(items, [], True)
        clock.pass_by(1.0)
        await has_rows(connection, 0, *OTHERS)
        assert not any((await rows_of(connection, 0)).values())
        late = await write(connection, REFERENCE, [0], head=True)
        marked = await connection.fetch("SELECT DISTINCT symbol FROM stale_features ORDER BY symbol")
        assert [record["symbol"] for record in marked] == OTHERS
        task.offer(late, [], True)
        clock.pass_by(1.0)
        await settled(connection)
        assert all((await rows_of(connection, 0)).values())
        # And in memory, for the minutes that follow.
        for n in (1, 2):
            items = [item for symbol in SYMBOLS for item in await write(connection, symbol, [n], head=True)]
            task.offer(items, [], True)
            await has_rows(connection, n, *SYMBOLS)
        assert await like_batch(connection)
        assert await nothing_stale(connection)


async def test_nobody_waits_for_a_reference_that_is_not_captured(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, HISTORY, OTHERS)
    async with running(database, HandClock(), OTHERS) as task:
        await settled(connection, OTHERS)
        for n in range(3):
            items = [item for symbol in OTHERS for item in await write(connection, symbol, [n], head=True)]
            task.offer(items, [], True)
            await has_rows(connection, n, *OTHERS)
        assert await like_batch(connection, OTHERS)


async def test_a_reference_that_comes_while_the_row_without_it_is_written(
    database: DatabaseSettings, connection: Connection
) -> None:
    """The row was computed, and not yet to be seen by whoever stores the candle."""
    await history(connection, HISTORY)
    clock = HandClock()
    holder = await db.connect(database, "test-holder")
    try:
        async with running(database, clock) as task:
            await settled(connection)
            async with holder.transaction():
                await holder.execute("SELECT lock_reference($1, true)", REFERENCE)
                task.offer(await write(connection, "ETHUSDT", [0], head=True), [], True)
                clock.pass_by(1.0)
                await computed(connection)
                late = await write(holder, REFERENCE, [0], head=True)
                assert not await holder.fetchval("SELECT count(*) FROM stale_features"), "no row is there"
            await has_rows(connection, 0, "ETHUSDT")
            task.offer(late, [], True)
            await settled(connection)
    finally:
        await holder.close()


async def test_a_reference_that_comes_while_stale_rows_are_computed_without_it(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, HISTORY)
    holder = await db.connect(database, "test-holder")
    try:
        async with running(database) as task:
            await settled(connection)
            async with holder.transaction():
                await holder.execute("SELECT lock_reference($1, true)", REFERENCE)
                await write(connection, "ETHUSDT", [0])
                await computed(connection)
                late = await write(holder, REFERENCE, [0], head=True)
            task.offer(late, [], True)
            await settled(connection)
    finally:
        await holder.close()


async def test_a_crash_between_the_row_without_the_reference_and_its_candle(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, HISTORY)
    clock = HandClock()
    async with running(database, clock) as task:
        await settled(connection)
        task.offer(await write(connection, "ETHUSDT", [0], head=True), [], True)
        clock.pass_by(1.0)
        await has_rows(connection, 0, "ETHUSDT")
    await write(connection, REFERENCE, [0], head=True)
    async with running(database):
        await settled(connection)
    assert (await rows_of(connection, 0)) == {REFERENCE: True, "ETHUSDT": True}


async def test_rows_of_the_next_minute_know_a_repaired_reference_whoever_is_computed_again_first(
    database: DatabaseSettings, connection: Connection
) -> None:
    """One symbol's mark is taken, and then the next minute's candles come, before the others' are."""
    await history(connection, HISTORY)
    async with running(database) as task:
        await settled(connection)
        for n in range(2):
            items = [item for symbol in SYMBOLS for item in await write(connection, symbol, [n], head=True)]
            task.offer(items, [], True)
            await has_rows(connection, n, *SYMBOLS)
        for n, minute in enumerate((-3, 1), 2):
            items = [item for symbol in SYMBOLS for item in await write(connection, symbol, [n], head=True)]
            async with rows_held_back(database):
                await write(connection, REFERENCE, [minute], seed=n)
                await computed(connection)
                task.offer(items, [], True)
            await settled(connection)
            items = [
                item for symbol in SYMBOLS for item in await write(connection, symbol, [n + 10], head=True)
            ]
            task.offer(items, [], True)
            await settled(connection)


async def test_an_outage_of_the_reference_recorded_meanwhile_is_flat_in_the_next_rows(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, HISTORY)
    async with running(database) as task:
        await settled(connection)
        for n in (0, 1):
            items = [item for symbol in OTHERS for item in await write(connection, symbol, [n], head=True)]
            task.offer(items, [], True)
            await has_rows(connection, n, *OTHERS)
        await write(connection, REFERENCE, [2], head=True)
        await ledger.record_outage(connection, REFERENCE, at(0), at(2), confirm_seconds=3600)
        await settled(connection)
        items = [item for symbol in OTHERS for item in await write(connection, symbol, [2], head=True)]
        task.offer(items, [], True)
        await has_rows(connection, 2, *OTHERS)
        assert all((await rows_of(connection, 2)).values())
        await settled(connection)

"""A row never outlives a change of what it was computed from, and nothing else touches it.

Real database, real task. That a row holds nothing from after its instant is what equality with the batch
shows, which is computed from the stored candles alone; here it is about what changes afterwards.
"""

from __future__ import annotations

import random

import pytest
from tests.feeder.conftest import eventually
from tests.feeder.feature_rows import (
    at,
    candle,
    computed,
    history,
    like_batch,
    rows_held_back,
    running,
    settled,
    write,
)

from marketdata.database import Connection
from marketdata.features.columns import REFERENCE
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles

pytestmark = pytest.mark.leak
OTHER = "ETHUSDT"
PAIR = (REFERENCE, OTHER)
MINUTES = MAX_WINDOW + 600

_COVERED = "SELECT count(*) FROM stale_features WHERE symbol = $1 AND from_time <= $2 AND to_time > $2"
_VALUES = "SELECT values, window_coverage FROM feature_values WHERE symbol = $1 AND time = $2"


async def revise(
    connection: Connection, symbol: str, n: int, seed: int, *rows: tuple[str, int]
) -> list[bool]:
    """REST disagrees with minute ``n``: return which of ``rows`` (symbol, last minute in it) the same
    transaction marks.
    """
    async with connection.transaction():
        row = candles.Row(candle(symbol, n, seed), at(n + 1))
        written = await candles.write(connection, [row], source=Source.REST)
        assert written.changed == 1
        return [bool(await connection.fetchval(_COVERED, of, at(last + 1))) for of, last in rows]


async def test_a_change_of_any_candle_in_the_window_is_computed_again_and_no_other(
    database: DatabaseSettings, connection: Connection
) -> None:
    rng = random.Random("leak")
    await history(connection, MINUTES, PAIR)
    async with running(database, captured=PAIR):
        await settled(connection, PAIR)
        for n in range(4):
            last = -rng.randrange(1, 500)
            inside = (last, last - MAX_WINDOW + 1, last - rng.randrange(MAX_WINDOW), last - 1)[n]
            before = await connection.fetchrow(_VALUES, OTHER, at(last + 1))
            stale = await revise(connection, OTHER, inside, 10 + n, (OTHER, last), (REFERENCE, last))
            assert stale == [True, False], (
                f"minute {inside} of the window of {MAX_WINDOW} that ends with {last}"
            )
            # Not that row alone: every other one that the minute reaches.
            await settled(connection, PAIR)
            if inside >= last - 1:
                assert await connection.fetchrow(_VALUES, OTHER, at(last + 1)) != before
        last = -rng.randrange(2, 500)
        outside = (last - MAX_WINDOW, last + 1)
        unchanged = await connection.fetchrow(_VALUES, OTHER, at(last + 1))
        for n, minute in enumerate(outside):
            assert await revise(connection, OTHER, minute, 20 + n, (OTHER, last)) == [False], minute
            await settled(connection, PAIR)
            assert await connection.fetchrow(_VALUES, OTHER, at(last + 1)) == unchanged


async def test_a_change_of_the_reference_reaches_the_others_as_far_as_they_compare(
    database: DatabaseSettings, connection: Connection
) -> None:
    rng = random.Random("reference")
    await history(connection, MINUTES, PAIR)
    async with running(database, captured=PAIR):
        await settled(connection, PAIR)
        last = -rng.randrange(2, 200)
        inside = (last, last - CROSS_WINDOW + 1, last - rng.randrange(CROSS_WINDOW))
        for n, minute in enumerate(inside):
            stale = await revise(connection, REFERENCE, minute, 30 + n, (OTHER, last), (REFERENCE, last))
            assert stale == [True, True], minute
            await settled(connection, PAIR)
        for n, minute in enumerate((last - CROSS_WINDOW, last + 1)):
            assert await revise(connection, REFERENCE, minute, 40 + n, (OTHER, last)) == [False], minute
            await settled(connection, PAIR)


@pytest.mark.parametrize("changed", PAIR)
@pytest.mark.parametrize("position", ["oldest", "newest", "own"])
async def test_a_repair_that_commits_while_the_row_is_computed(
    database: DatabaseSettings, connection: Connection, changed: str, position: str
) -> None:
    """The row is computed without it, is written after it, and does not stay."""
    await history(connection, MAX_WINDOW + 10, PAIR)
    reach = MAX_WINDOW if changed == OTHER else CROSS_WINDOW
    minute = {"oldest": 1 - reach, "newest": -1, "own": 0}[position]
    async with running(database, captured=PAIR) as task:
        await settled(connection, PAIR)
        heads = [item for symbol in PAIR for item in await write(connection, symbol, [0], head=True)]
        async with rows_held_back(database):
            task.offer(heads, [], True)
            await computed(connection)
            await revise(connection, changed, minute, 50)
            assert not await like_batch(connection, PAIR)
        await settled(connection, PAIR)
        # What is kept in memory for the next minute has it too.
        task.offer(
            [item for symbol in PAIR for item in await write(connection, symbol, [1], head=True)], [], True
        )
        await settled(connection, PAIR)


async def test_a_second_repair_while_the_first_is_computed_again(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, MAX_WINDOW + 10, PAIR)
    async with running(database, captured=PAIR):
        await settled(connection, PAIR)
        async with rows_held_back(database):
            await revise(connection, OTHER, -5, 60)
            await computed(connection)
            await revise(connection, OTHER, -7, 61)
            await revise(connection, REFERENCE, -9, 62)
        await settled(connection, PAIR)


async def test_a_row_of_a_late_candle_is_no_older_than_what_came_meanwhile(
    database: DatabaseSettings, connection: Connection
) -> None:
    """A hole is repaired while the row after it is computed with the hole."""
    await history(connection, 300, PAIR)
    async with running(database, captured=PAIR) as task:
        await settled(connection, PAIR)
        for symbol in PAIR:
            task.offer(await write(connection, symbol, [0], head=True), [], True)
        heads = await write(connection, OTHER, [2], head=True)
        heads += await write(connection, REFERENCE, [2], head=True)
        async with rows_held_back(database):
            task.offer(heads, [], True)
            await computed(connection)
            for symbol in PAIR:
                await write(connection, symbol, [1])

        async def all_there() -> bool:
            return bool(await connection.fetchval("SELECT count(*) = 606 FROM feature_values"))

        await eventually(all_there, "a row for every candle", 60)
        await settled(connection, PAIR)

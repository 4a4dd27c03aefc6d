"""Windows of many symbols: read together they are those read one by one; and they are there before a start's
first minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.feeder.conftest import eventually
from tests.feeder.feature_rows import SYMBOLS, at, history, running, settled, write

from marketdata.database import Connection
from marketdata.features.columns import FLAT, MISSING, PRESENT, Columns
from marketdata.settings import DatabaseSettings
from marketdata.store import books, features, ledger, windows
from marketdata.store.books import BookMinute

NAMES = tuple(name for name in Columns.__dataclass_fields__ if not name.startswith("_"))


def book(symbol: str, n: int) -> BookMinute:
    return BookMinute(symbol, at(n), 1.0, 2.0, 1.5, 3.0, 0.25 + n, 0.5, 7)


async def market(connection: Connection) -> None:
    """Three symbols with a hole, outages at both ends of the range and inside it, and books of some."""
    await history(connection, 100)
    await connection.execute(
        "DELETE FROM candles_1m WHERE (symbol = 'ETHUSDT' AND time >= $1 AND time < $2)"
        " OR (symbol = 'BTCUSDT' AND time = $3) OR (symbol = 'SOLUSDT' AND time >= $4)",
        at(-70), at(-55), at(-40), at(-5),
    )  # fmt: skip
    await ledger.record_outage(connection, "ETHUSDT", at(-70), at(-55), confirm_seconds=3600)
    await ledger.record_outage(connection, "SOLUSDT", at(-5), at(0), confirm_seconds=3600)
    await books.write(
        connection, [book("ETHUSDT", n) for n in range(-60, -20)] + [book("BTCUSDT", -1)], known_at=at(0)
    )


@pytest.mark.parametrize("symbols", [SYMBOLS, ("SOLUSDT", "ETHUSDT"), ("BTCUSDT",), ("NOUSDT", "ETHUSDT")])
async def test_windows_read_together_are_those_read_one_by_one(
    connection: Connection, symbols: tuple[str, ...]
) -> None:
    await market(connection)
    for first in (-100, -60, -30):
        together = await windows.load_windows(connection, symbols, at(first), at(2))
        for place, symbol in enumerate(symbols):
            alone = await features.load_window(connection, symbol, at(first), at(2))
            one = together.of(np.array([place]))
            for name in NAMES:
                expected = getattr(alone, name)
                found = one.time if name == "time" else getattr(one, name)[0]
                np.testing.assert_array_equal(found, expected, err_msg=f"{symbol} {name}")
    if symbols == SYMBOLS:
        # The price of an outage that begins before the range is that of the candle before it.
        inside = await windows.load_windows(connection, symbols, at(-60), at(2))
        assert inside.state[1, :5].tolist() == [FLAT] * 5
        assert {*np.unique(inside.state).tolist()} == {PRESENT, FLAT, MISSING}


async def test_books_are_read_from_where_they_are_asked_for(connection: Connection) -> None:
    await market(connection)
    found = await windows.load_windows(connection, ("ETHUSDT",), at(-60), at(0), books_from=at(-25))
    assert np.flatnonzero(~np.isnan(found.spread_bps[0])).tolist() == list(range(35, 40))


async def test_a_start_has_its_windows_before_the_first_minute(
    database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history(connection, 300)
    async with running(database):
        await settled(connection)
    read: list[tuple[str, ...]] = []
    load = windows.load_windows

    async def counted(connection: Connection, symbols: Sequence[str], *span: int, **named: Any) -> Columns:
        read.append(tuple(symbols))
        return await load(connection, symbols, *span, **named)

    monkeypatch.setattr(windows, "load_windows", counted)
    async with running(database) as task:

        async def warm() -> bool:
            return task.warm

        await eventually(warm, "the windows are in memory")
        assert read == [SYMBOLS]
        heads = [item for symbol in SYMBOLS for item in await write(connection, symbol, [0], head=True)]
        task.offer(heads, [], True)
        await settled(connection)
    assert read == [SYMBOLS], "the first minute asked for more"


async def test_symbols_with_the_same_stale_rows_are_computed_together(
    database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair of the reference reaches every symbol; one of them ends before the others."""
    await history(connection, 400)
    await connection.execute("DELETE FROM candles_1m WHERE symbol = 'SOLUSDT' AND time >= $1", at(-3))
    async with running(database):
        await settled(connection)
    again: list[tuple[str, ...]] = []
    replace = features.replace

    async def counted(connection: Connection, symbols: Any, *result: Any, **named: Any) -> int:
        again.append(tuple(dict.fromkeys(symbols)))
        return await replace(connection, symbols, *result, **named)

    monkeypatch.setattr(features, "replace", counted)
    async with running(database) as task:
        await write(connection, "BTCUSDT", [-50], seed=1)
        await settled(connection)
        assert set(again) == {("BTCUSDT",), ("ETHUSDT", "SOLUSDT")}
        again.clear()
        await write(connection, "BTCUSDT", [-300], seed=1)
        await settled(connection)
        # Longer ones are written a symbol at a time: a statement is encoded in one turn of the event loop.
        assert set(again) == {("BTCUSDT",), ("ETHUSDT",), ("SOLUSDT",)}
        heads = [item for symbol in SYMBOLS for item in await write(connection, symbol, [0], head=True)]
        task.offer(heads, [], True)
        await settled(connection)


async def test_newer_stale_rows_do_not_wait_for_all_the_older_ones(
    database: DatabaseSettings, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history(connection, 100)
    async with running(database):
        await settled(connection)
    mark = "INSERT INTO stale_features (symbol, from_time, to_time) VALUES ($1, $2, $3) RETURNING id"
    old = [await connection.fetchval(mark, name, at(-50), at(-n)) for n, name in enumerate(SYMBOLS, start=10)]
    done: list[list[int]] = []
    settle = features.settle_stale

    async def noted(feeder: Connection, ids: Sequence[int]) -> None:
        if not done:
            old.append(await connection.fetchval(mark, "SOLUSDT", at(-5), at(-1)))
        done.append(sorted(ids))
        await settle(feeder, ids)

    monkeypatch.setattr(features, "settle_stale", noted)
    monkeypatch.setattr("data_feeder.refresher.STALE_SECONDS", 0.0)
    async with running(database):
        await settled(connection)
    assert done == [[old[0]], [old[2], old[3]], [old[1]]]


async def test_the_newest_minute_of_those_that_have_one(connection: Connection) -> None:
    await history(connection, 3)
    await write(connection, "ETHUSDT", [0])
    newest = await windows.newest_minutes(connection, (*SYMBOLS, "NOUSDT"))
    assert newest == {"BTCUSDT": at(-1), "ETHUSDT": at(0), "SOLUSDT": at(-1)}

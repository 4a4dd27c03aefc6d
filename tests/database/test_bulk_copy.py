"""Columns copied straight in: the very rows, marks and clock of a write, and a write where that cannot be."""

from __future__ import annotations

import math
from array import array

import pytest
from tests.database.conftest import T0, candle, minute

from marketdata.database import Connection
from marketdata.features.columns import REFERENCE
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.store import bulk, candles
from marketdata.store.bulk import CHUNK_MS, Block
from marketdata.store.candles import Row, Written

NOW = T0 + 60 * 1440 * MINUTE_MS
SYMBOL = "BTCUSDT"


def some(first: int, end: int, *, symbol: str = SYMBOL, close: float = 1.5) -> Block:
    return Block.of(symbol, [candle(n, close, symbol=symbol) for n in range(first, end)])


async def copy(connection: Connection, block: Block, known_at: int = NOW) -> Written:
    async with connection.transaction():
        return await bulk.write(connection, block, source=Source.ARCHIVE, known_at=known_at)


async def everything(connection: Connection) -> list[list[tuple[object, ...]]]:
    """Return what a write leaves behind it."""
    questions = (
        "SELECT * FROM candles_1m ORDER BY symbol, time",
        "SELECT symbol, from_time, to_time FROM stale_features ORDER BY 1, 2, 3",
        "SELECT event_type, symbol, gap_start, detail FROM data_quality_logs ORDER BY 1, 2, 3",
        "SELECT time FROM market_clock",
    )
    return [[tuple(record) for record in await connection.fetch(question)] for question in questions]


def test_a_block_is_cut_by_minutes_and_by_chunks() -> None:
    block = some(10, 20_000)
    assert len(block) == 19_990
    assert list(block.candles())[5] == candle(15)
    assert list(block.between(minute(0), minute(12)).times) == [minute(10), minute(11)]
    parts = list(block.chunks())
    assert len(parts) == len({time // CHUNK_MS for time in block.times}) > 2
    assert all(len({time // CHUNK_MS for time in part.times}) == 1 for part in parts)
    assert [time for part in parts for time in part.times] == list(block.times)
    joined = Block.of(SYMBOL)
    for part in parts:
        joined.extend(part)
    assert joined == block
    assert list(Block.of(SYMBOL).chunks()) == []


@pytest.mark.parametrize("symbol", [SYMBOL, "ÄTHER币USDT"])
async def test_every_number_arrives_as_it_is(connection: Connection, symbol: str) -> None:
    tiny, huge = math.ulp(0.0), 1.7976931348623157e308
    rows = [
        Candle(symbol, minute(0), 0.1, huge, tiny, 1 / 3, 0.0, 1e-8, 2**63 - 1, math.pi, 123456789.12345678),
        Candle(symbol, minute(3), 0.1, 0.3, 0.1, 0.2, 5e-324, 0.0, 0, 0.0, 0.0),
    ]
    assert await copy(connection, Block.of(symbol, rows), NOW + 123) == Written(2, 0, 0, 0)
    stored = await connection.fetch("SELECT * FROM candles_1m ORDER BY time")
    assert [tuple(record) for record in stored] == [(*row, "archive", NOW + 123) for row in rows]


@pytest.mark.parametrize("symbol", [REFERENCE, "ETHUSDT"])
@pytest.mark.parametrize("age", [0, 29 * 1440, 80 * 1440])
async def test_a_copy_leaves_what_a_write_leaves(connection: Connection, symbol: str, age: int) -> None:
    for name in (REFERENCE, "ETHUSDT", "SOLUSDT"):
        await connection.execute(
            "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)", name, T0
        )
    # An outage behind the candles: they are its price.
    await connection.execute("SELECT advance_market_clock($1)", T0 + 1440 * MINUTE_MS)
    await connection.execute(
        "SELECT record_outage($1, $2, $3, interval '1 hour', 0)", symbol, minute(2500), minute(2600)
    )
    await connection.execute("TRUNCATE stale_features")
    block, known_at = some(0, 2500, symbol=symbol), minute(2600 + age)
    await connection.execute("SELECT advance_market_clock($1)", known_at - 1)
    found = []
    for write in ("copy", "write"):
        transaction = connection.transaction()
        await transaction.start()
        if write == "copy":
            await bulk.write(connection, block, source=Source.ARCHIVE, known_at=known_at)
        else:
            rows = [Row(row, known_at) for row in block.candles()]
            await candles.write(connection, rows, source=Source.ARCHIVE)
        found.append(await everything(connection))
        await transaction.rollback()
    assert found[0] == found[1]
    marked = {row[0]: (row[1], row[2]) for row in found[0][1]}
    assert len(found[0][0]) == 2500
    assert (symbol in marked) is (age < 80 * 1440)
    if age == 0:
        assert marked[symbol] == (minute(1), minute(2600 + MAX_WINDOW))
    if age == 0 and symbol == REFERENCE:
        assert marked["ETHUSDT"] == (minute(1), minute(2600 + CROSS_WINDOW))


async def test_a_minute_that_came_meanwhile_makes_it_a_write(connection: Connection) -> None:
    await candles.write(
        connection,
        [Row(candle(n, 1.4), NOW) for n in (5, 6)] + [Row(candle(8), NOW)],
        source=Source.STREAM,
    )
    assert await copy(connection, some(0, 10)) == Written(7, 2, 1, 0)
    stored = await connection.fetch("SELECT close, source FROM candles_1m ORDER BY time")
    assert {record["close"] for record in stored} == {1.5}
    assert [record["source"] for record in stored] == ["archive"] * 8 + ["stream", "archive"]
    revised = "SELECT gap_start FROM data_quality_logs WHERE event_type = 'revision' ORDER BY 1"
    assert [record["gap_start"] for record in await connection.fetch(revised)] == [minute(5), minute(6)]


async def test_the_table_refuses_what_cannot_be_and_the_ledger_has_it(connection: Connection) -> None:
    block = some(0, 10)
    block.columns[3][4] = 9.0  # its low
    assert await copy(connection, block) == Written(9, 0, 0, 1)
    assert await connection.fetchval(
        "SELECT array_agg(gap_start) FROM data_quality_logs WHERE event_type = 'invalid'"
    ) == [minute(4)]


async def test_nothing_is_nothing(connection: Connection) -> None:
    assert await copy(connection, Block(SYMBOL, tuple(map(array, "qddddddqdd")))) == Written(0, 0, 0, 0)
    assert await connection.fetchval("SELECT count(*) FROM market_clock") == 0


async def test_a_hole_in_the_columnstore_is_filled(connection: Connection) -> None:
    await copy(connection, some(0, 4_000, close=1.4))
    await copy(connection, some(6_000, 30_000, close=1.4))
    if await connection.fetchval("SELECT server_kind()") == "community":
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    assert await copy(connection, some(4_000, 6_000)) == Written(2_000, 0, 0, 0)
    assert await copy(connection, some(3_990, 6_010, close=1.4)) == Written(0, 2_000, 20, 0)
    assert await connection.fetchval("SELECT count(*) FROM candles_1m WHERE close = 1.4") == 30_000

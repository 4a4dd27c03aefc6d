"""Many candles at once: by the chunk, compared first, into the columnstore too, without useless marks."""

from __future__ import annotations

from itertools import groupby

import pytest
from tests.database.conftest import T0, candle, minute

from marketdata.database import Connection
from marketdata.features.registry import MAX_WINDOW
from marketdata.models import MINUTE_MS, Source
from marketdata.store import candles
from marketdata.store.bulk import CHUNK_MS
from marketdata.store.candles import Row, Written

DAY_MS = 1440 * MINUTE_MS
NOW = T0 + 60 * DAY_MS
MONTH = 31 * 1440


def rows(first: int, end: int, *, close: float = 1.5, known_at: int = NOW) -> list[Row]:
    return [Row(candle(n, close), known_at) for n in range(first, end)]


async def load(connection: Connection, those: list[Row]) -> Written:
    """Write chunk by chunk and return the sums."""
    parts = [
        await candles.write(connection, part, source=Source.ARCHIVE)
        for _, part in groupby(those, lambda row: row.candle.time // CHUNK_MS)
    ]
    return Written(*(sum(column) for column in zip(*parts, strict=True)))


async def test_a_month_is_loaded_once_and_exactly(connection: Connection) -> None:
    those = rows(0, MONTH)
    assert await load(connection, those) == Written(MONTH, 0, 0, 0)
    assert await load(connection, those[::-1]) == Written(0, 0, MONTH, 0)
    stored = await connection.fetch("SELECT time, close, source, known_at FROM candles_1m ORDER BY time")
    assert [record["time"] for record in stored] == [row.candle.time for row in those]
    assert {tuple(record)[1:] for record in stored} == {(1.5, "archive", NOW)}
    assert await connection.fetchval("SELECT market_now()") == NOW


async def test_writes_of_one_transaction_do_not_meet(connection: Connection) -> None:
    async with connection.transaction():
        first = await candles.write(connection, rows(0, 10), source=Source.REST)
        second = await candles.write(connection, rows(5, 15, close=1.6), source=Source.ARCHIVE)
        third = await candles.write(connection, rows(20, 25), source=Source.REST)
    assert (first, second, third) == (Written(10, 0, 0, 0), Written(5, 5, 0, 0), Written(5, 0, 0, 0))
    stored = await connection.fetch("SELECT close, count(*) FROM candles_1m GROUP BY close ORDER BY close")
    assert [tuple(record) for record in stored] == [(1.5, 10), (1.6, 10)]


async def test_a_write_that_is_rolled_back_leaves_nothing_for_the_next(connection: Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await candles.write(connection, rows(0, 10), source=Source.ARCHIVE)
    await transaction.rollback()
    assert await candles.write(connection, rows(20, 25), source=Source.ARCHIVE) == Written(5, 0, 0, 0)
    assert await connection.fetchval("SELECT count(*) FROM candles_1m") == 5


async def test_the_columnstore_takes_what_differs_and_keeps_the_rest(connection: Connection) -> None:
    await load(connection, rows(0, 20_000, close=1.4))
    await connection.execute("UPDATE candles_1m SET source = 'stream'")
    await load(connection, rows(25_000, 30_000))
    if await connection.fetchval("SELECT server_kind()") == "community":
        await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    those = rows(0, 19_000, close=1.4) + rows(19_000, 30_000)
    written = await load(connection, those)
    assert written == Written(5_000, 1_000, 24_000, 0)
    assert await connection.fetchval("SELECT count(*) FROM candles_1m WHERE close = 1.5") == 11_000
    old = await connection.fetch(
        "SELECT gap_start, detail -> 'old' ->> 'close' AS close, detail ->> 'source' AS source"
        " FROM data_quality_logs WHERE event_type = 'revision' ORDER BY gap_start"
    )
    assert [record["gap_start"] for record in old] == [minute(n) for n in range(19_000, 20_000)]
    assert {(record["close"], record["source"]) for record in old} == {("1.4", "archive")}


async def test_equal_candles_leave_the_columnstore_packed(connection: Connection) -> None:
    if await connection.fetchval("SELECT server_kind()") != "community":
        pytest.skip("this server has no columnstore")
    await load(connection, rows(0, MONTH))
    await connection.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    assert await load(connection, rows(0, MONTH)) == Written(0, 0, MONTH, 0)
    for record in await connection.fetch("SELECT c::text AS name FROM show_chunks('candles_1m') AS c"):
        # ONLY is what lies in the chunk's row form.
        assert await connection.fetchval(f"SELECT count(*) FROM ONLY {record['name']}") == 0


async def test_only_what_reaches_kept_feature_rows_is_marked(connection: Connection) -> None:
    await connection.execute("SELECT advance_market_clock($1)", NOW)
    await load(connection, rows(0, 1440))
    assert await connection.fetchval("SELECT count(*) FROM stale_features") == 0
    edge = int(await connection.fetchval("SELECT market_now() - interval '1 month'"))
    last = (edge - T0) // MINUTE_MS - MAX_WINDOW - 1
    await load(connection, rows(last - 1, last))
    assert await connection.fetchval("SELECT count(*) FROM stale_features") == 0
    await load(connection, rows(last, last + 2))
    marked = await connection.fetch("SELECT from_time, to_time FROM stale_features")
    assert [tuple(record) for record in marked] == [(minute(last + 1), minute(last + 2 + MAX_WINDOW))]


@pytest.mark.parametrize("source", [Source.REST, Source.ARCHIVE])
async def test_impossible_candles_of_a_load_are_evidence(connection: Connection, source: Source) -> None:
    bad = [Row(candle(3)._replace(time=minute(3) + 14_789), NOW), Row(candle(5)._replace(low=9.0), NOW)]
    written = await candles.write(connection, [*rows(0, 3), *bad], source=source)
    assert written == Written(3, 0, 0, 2)
    noted = await connection.fetch(
        "SELECT gap_start, detail ->> 'source' AS source FROM data_quality_logs WHERE event_type = 'invalid'"
    )
    assert [tuple(record) for record in noted] == [(minute(3) + 14_789, source), (minute(5), source)]

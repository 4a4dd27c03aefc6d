"""Repairs inside the columnstore: under the decompression limit, and compressed again afterwards."""

from collections.abc import Iterable

import asyncpg
import pytest
from tests.database.conftest import candle, minute

from marketdata import database as db
from marketdata.database import Connection
from marketdata.models import Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, ledger

DAY = 1440
MONTH = 31 * DAY
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
HOLE = 29 * DAY
"""A day without candles, in another chunk than the first minutes: four weeks are one."""
PAGE = 5000
"""Candles of one write: BATCH_MAX_ROWS."""


@pytest.fixture
async def columnar(market: Connection) -> Connection:
    """A month of three symbols in the columnstore, of which BTCUSDT lacks ten minutes and a day."""
    if await market.fetchval("SELECT server_kind()") != "community":
        pytest.skip("no columnstore on this server")
    await market.execute(
        "INSERT INTO candles_1m SELECT symbol, time, 1, 2, 0.5, 1.5, 10, 15, 3, 5, 7.5, 'stream', time"
        " FROM unnest($1::text[]) AS symbol,"
        " generate_series($2::timestamptz, $3::timestamptz, interval '1 minute') AS time"
        " WHERE symbol <> 'BTCUSDT' OR NOT (time >= $4 AND time < $5 OR time >= $6 AND time < $7)",
        SYMBOLS, minute(0), minute(MONTH - 1), minute(100), minute(110), minute(HOLE), minute(HOLE + DAY),
    )  # fmt: skip
    await market.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    assert await partial(market) == 0
    return market


async def partial(connection: Connection) -> int:
    """Return how many chunks are only partly in the columnstore; fail where one is not in it at all."""
    states = await connection.fetch(
        "SELECT _timescaledb_functions.chunk_status(c) AS state FROM show_chunks('candles_1m') AS c"
    )
    assert all(row["state"] & 1 for row in states)
    return sum(bool(row["state"] & 8) for row in states)


async def repair(connection: Connection, minutes: Iterable[int], close: float = 1.5) -> candles.Written:
    """Write pages as a backfill does, each its own transaction, under the server's own limit."""
    total = candles.Written(0, 0, 0, 0)
    wanted = [candles.Row(candle(n, close), minute(MONTH)) for n in minutes]
    for start in range(0, len(wanted), PAGE):
        written = await candles.write(connection, wanted[start : start + PAGE], source=Source.REST)
        total = candles.Written(*(a + b for a, b in zip(total, written, strict=True)))
    return total


async def recompress(connection: Connection, start: int, end: int) -> None:
    await connection.execute("CALL recompress($1::timestamptz, $2::timestamptz)", minute(start), minute(end))


async def test_holes_of_minutes_and_of_a_day_are_filled_and_compressed_again(columnar: Connection) -> None:
    limit = await columnar.fetchval(
        "SELECT current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction')::integer"
    )
    assert limit == 100_000, "the server's own"
    assert (await repair(columnar, range(100, 110))).inserted == 10
    assert (await repair(columnar, range(HOLE, HOLE + DAY))).inserted == DAY
    assert await partial(columnar) == 2
    await recompress(columnar, 100, 110)
    assert await partial(columnar) == 1, "only what was asked for"
    await recompress(columnar, HOLE, HOLE + DAY)
    assert await partial(columnar) == 0
    count = await columnar.fetchval("SELECT count(*) FROM candles_1m WHERE symbol = 'BTCUSDT'")
    assert count == MONTH


async def test_a_month_already_there_decompresses_nothing(columnar: Connection) -> None:
    await repair(columnar, [*range(100, 110), *range(HOLE, HOLE + DAY)])
    await recompress(columnar, 0, MONTH)
    assert await repair(columnar, range(MONTH)) == candles.Written(0, 0, MONTH, 0)
    assert await partial(columnar) == 0


async def test_a_month_of_corrections_stays_under_the_limit(columnar: Connection) -> None:
    written = await repair(columnar, range(MONTH), close=1.6)
    assert (written.inserted, written.changed) == (DAY + 10, MONTH - DAY - 10)
    assert await partial(columnar) > 0
    await recompress(columnar, 0, MONTH)
    assert await partial(columnar) == 0
    closes = await columnar.fetch(
        "SELECT symbol, close, count(*) AS rows FROM candles_1m GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in closes] == [
        ("BTCUSDT", 1.6, MONTH), ("ETHUSDT", 1.5, MONTH), ("SOLUSDT", 1.5, MONTH),
    ]  # fmt: skip


async def test_a_chunk_that_is_still_being_filled_waits(columnar: Connection) -> None:
    (gap,) = await ledger.record_missing(columnar, "BTCUSDT", minute(HOLE), minute(HOLE + DAY), "audit")
    await repair(columnar, range(HOLE, HOLE + 500))
    await recompress(columnar, HOLE, HOLE + DAY)
    assert await partial(columnar) == 1
    await ledger.release(columnar, gap.id, retry_seconds=60, reason="the exchange has no more of it")
    await recompress(columnar, HOLE, HOLE + DAY)
    assert await partial(columnar) == 0, "a gap that waits keeps nothing open"


async def test_chunks_of_the_last_week_are_left_alone(columnar: Connection) -> None:
    statement = (
        "INSERT INTO candles_1m SELECT 'BTCUSDT', floor_minute(now()) - n * interval '1 minute',"
        " 1, 2, 0.5, 1.5, 10, 15, 3, 5, 7.5, 'stream', now() FROM generate_series($1::integer, $2) AS n"
    )
    await columnar.execute(statement, 0, 2)
    await columnar.execute("SELECT compress_chunk(c, true) FROM show_chunks('candles_1m') AS c")
    await columnar.execute(statement, 3, 5)
    assert await partial(columnar) > 0
    await columnar.execute("CALL recompress('-infinity', 'infinity')")
    assert await partial(columnar) > 0


async def test_a_reader_in_the_middle_of_a_transaction_does_not_hold_it_up(
    columnar: Connection, database: DatabaseSettings
) -> None:
    await repair(columnar, range(100, 110))
    other = await db.connect(database, "test")
    async with other.transaction():
        await other.fetch("SELECT count(*) FROM candles_1m WHERE time < $1", minute(200))
        await recompress(columnar, 100, 110)
    await other.close()
    assert await partial(columnar) == 0


async def test_elsewhere_it_does_nothing(market: Connection) -> None:
    await market.execute("CALL recompress($1::timestamptz, $2::timestamptz)", minute(0), minute(10))


BATCHES = (
    "SELECT compress_relid::regclass::text FROM _timescaledb_catalog.compression_settings"
    " WHERE relid IN (SELECT show_chunks('candles_1m'))"
)


async def test_a_week_of_a_symbol_is_four_batches(columnar: Connection) -> None:
    counts: list[int] = []
    for (relation,) in await columnar.fetch(BATCHES):
        found = await columnar.fetch(f"SELECT _ts_meta_count FROM {relation} WHERE symbol = 'ETHUSDT'")
        counts += [row[0] for row in found]
    assert max(counts) == 10_080 // 4, "as the database's own settings say"
    assert sum(counts) == MONTH


async def test_four_weeks_are_one_chunk_once_they_are_compressed(columnar: Connection) -> None:
    """A query without a bound on its times is planned over every chunk there is."""
    spans = await columnar.fetch(
        "SELECT extract(day FROM range_end - range_start)::integer AS days"
        " FROM timescaledb_information.chunks WHERE hypertable_name = 'candles_1m' ORDER BY range_start"
    )
    assert [row["days"] for row in spans] == [28, 7]


async def test_every_number_comes_back_as_it_was(market: Connection) -> None:
    """Bit by bit: ticks of a cent, eight decimals, the least and the greatest."""
    if await market.fetchval("SELECT server_kind()") != "community":
        pytest.skip("no columnstore on this server")
    await market.execute(
        "INSERT INTO candles_1m SELECT 'BTCUSDT', $1::timestamptz + n * interval '1 minute', p, p + 0.01,"
        " p - 0.01, p, n * 1.00001, n * 27123.45678901, n * 7919, n / 3.0,"
        " CASE n % 3 WHEN 0 THEN 5e-324 WHEN 1 THEN 1.7e308 ELSE 0.1 END,"
        " CASE n % 2 WHEN 0 THEN 'stream' ELSE 'rest' END,"
        " $1::timestamptz + n * interval '61.017 seconds'"
        " FROM generate_series(0, 3000) AS n, LATERAL (SELECT 27123.45 + n * 0.01 AS p) AS price",
        minute(0),
    )
    columns = "open, high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume"
    bits = ", ".join(f"encode(float8send({name}), 'hex')" for name in columns.split(", "))
    statement = f"SELECT time, trades, source, known_at, {bits} FROM candles_1m ORDER BY time"
    before = await market.fetch(statement)
    await market.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    assert await market.fetch(statement) == before
    assert len(before) == 3001


async def test_without_the_comparison_duplicates_meet_the_limit(columnar: Connection) -> None:
    """Why rows are compared first: the same month, straight to ON CONFLICT."""
    await repair(columnar, [*range(100, 110), *range(HOLE, HOLE + DAY)])
    await recompress(columnar, 0, MONTH)
    with pytest.raises(asyncpg.PostgresError, match="decompression limit"):
        await columnar.execute(
            "INSERT INTO candles_1m SELECT * FROM candles_1m ON CONFLICT (symbol, time)"
            " DO UPDATE SET known_at = EXCLUDED.known_at"
        )

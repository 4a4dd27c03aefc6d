"""What the ledger says of minutes that retention has dropped: nothing any more, and nothing in its way."""

from collections.abc import AsyncIterator

import pytest
from tests.conftest import migrate
from tests.database.conftest import ledger_rows, minute, store

from marketdata import database as db
from marketdata.database import Connection
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings
from marketdata.store import ledger

DAY = 1440
# 13 months before 2025-06-24T00:00:30Z is 2024-05-24T00:00:30Z; the first whole minute kept is one later.
NOW = 823 * DAY + 0.5
EDGE = 427 * DAY + 1


@pytest.fixture
async def kept(market: Connection) -> Connection:
    """A database with retention, whose market is two years further on."""
    await market.execute("UPDATE platform_state SET policies = true")
    await market.execute("SELECT advance_market_clock($1)", minute(NOW))
    assert await market.fetchval("SELECT lower(expected_range('BTCUSDT'))") == minute(EDGE)
    return market


async def enter(connection: Connection, event: str, start: int, end: int, *, resolved: bool = False) -> None:
    await connection.execute(
        "INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, candles_missing, resolved,"
        " resolved_at, lease_until, detail) VALUES ($1, 'BTCUSDT', $2, $3, minutes_of(tstzrange($2, $3)), $4,"
        " CASE WHEN $4 THEN now() END, CASE WHEN NOT $4 THEN now() END, '{\"waiting_for\": \"rows\"}')",
        event, minute(start), minute(end), resolved,
    )  # fmt: skip


async def test_open_work_ends_at_the_retention_edge(kept: Connection) -> None:
    await enter(kept, "gap", EDGE - 100, EDGE)
    await enter(kept, "gap", EDGE - 200, EDGE - 150)
    await enter(kept, "outage", EDGE - 300, EDGE - 250)
    await enter(kept, "gap", EDGE, EDGE + 10)
    await enter(kept, "outage", EDGE + 20, EDGE + 30)
    await kept.execute("CALL nightly_cleanup()")
    assert [
        (event, start - EDGE, end - EDGE, done) for event, start, end, done in await ledger_rows(kept)
    ] == [
        ("outage", -300, -250, True),
        ("gap", -200, -150, True),
        ("gap", -100, 0, True),
        ("gap", 0, 10, False),
        ("outage", 20, 30, False),
    ]
    closed = await kept.fetch(
        "SELECT detail ->> 'closed' AS why, detail ? 'waiting_for' AS waits, resolved_at, lease_until"
        " FROM data_quality_logs WHERE resolved"
    )
    assert all(r["why"] == "retention" and not r["waits"] and r["resolved_at"] for r in closed)
    assert all(r["lease_until"] is None for r in closed)
    await kept.execute("SELECT advance_market_clock($1)", minute(NOW + 1))
    await kept.execute("CALL nightly_cleanup()")
    assert len(await ledger_rows(kept)) == 2, "the next night they leave with everything that is that old"


@pytest.mark.parametrize(("event", "resolved"), [("gap", False), ("outage", False), ("outage", True)])
async def test_what_lies_across_the_edge_is_shortened(kept: Connection, event: str, resolved: bool) -> None:
    await enter(kept, event, EDGE - 100, EDGE + 40, resolved=resolved)
    await kept.execute("CALL nightly_cleanup()")
    assert await ledger_rows(kept) == [(event, EDGE, EDGE + 40, resolved)]
    assert await kept.fetchval("SELECT candles_missing FROM data_quality_logs") == 40
    await kept.execute("CALL nightly_cleanup()")
    assert await ledger_rows(kept) == [(event, EDGE, EDGE + 40, resolved)]


async def test_a_repaired_gap_keeps_its_history_until_it_is_old(kept: Connection) -> None:
    await enter(kept, "gap", EDGE - 100, EDGE + 40, resolved=True)
    await enter(kept, "gap", EDGE - 300, EDGE - 200, resolved=True)
    await kept.execute("CALL nightly_cleanup()")
    assert await ledger_rows(kept) == [("gap", EDGE - 100, EDGE + 40, True)]


async def test_an_absurd_exchange_time_closes_nothing(kept: Connection) -> None:
    """The edge is the earlier clock's: by 2049 all of this would be long past."""
    await kept.execute("SELECT advance_market_clock('2049-01-01'::text::timestamptz)")
    await kept.execute(
        "INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end)"
        " VALUES ('gap', 'BTCUSDT', floor_minute(now()) - interval '1 day', floor_minute(now()))"
    )
    await kept.execute("CALL nightly_cleanup()")
    assert await kept.fetchval("SELECT count(*) FROM data_quality_logs WHERE NOT resolved") == 1


async def test_a_shortened_piece_still_settles_for_its_worker(kept: Connection) -> None:
    (gap,) = await ledger.record_missing(kept, "BTCUSDT", minute(EDGE - 30), minute(EDGE + 10), "start")
    await ledger.claim(kept, lease_seconds=60, max_minutes=1000)
    await kept.execute("CALL nightly_cleanup()")
    await store(kept, range(EDGE, EDGE + 10))
    assert await ledger.settle_gap(kept, gap.id, recovered=0, retry_seconds=0, reason="")


@pytest.fixture
async def policed(empty_database: DatabaseSettings) -> AsyncIterator[Connection]:
    """A database as a user has it: with the server's own policies where there are any."""
    await migrate(empty_database, policies=True)
    connection = await db.connect(empty_database, "test")
    yield connection
    await connection.close()


async def test_an_open_gap_never_holds_a_chunk_back(policed: Connection) -> None:
    now = await policed.fetchval("SELECT floor_minute(now())")
    old, edge = now - 450 * DAY * MINUTE_MS, now - 30 * DAY * MINUTE_MS
    await policed.execute("SELECT advance_market_clock($1)", now)
    await policed.execute(
        "INSERT INTO symbols (symbol, status, history_start) VALUES ('BTCUSDT', 'TRADING', $1)", old
    )
    await policed.executemany(
        "INSERT INTO candles_1m VALUES ('BTCUSDT', $1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 'rest', $1)",
        [(old,), (edge,)],
    )
    await policed.execute(
        "INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, candles_missing)"
        " VALUES ('gap', 'BTCUSDT', $1, $2, 1)", old + MINUTE_MS, edge,
    )  # fmt: skip
    if await policed.fetchval("SELECT server_kind()") == "community":
        job = await policed.fetchval(
            "SELECT job_id FROM timescaledb_information.jobs"
            " WHERE proc_name = 'policy_retention' AND hypertable_name = 'candles_1m'"
        )
        await policed.execute("CALL run_job($1)", job)
        job = await policed.fetchval(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'nightly_cleanup'"
        )
        await policed.execute("CALL run_job($1)", job)
    else:
        await policed.execute("CALL nightly_cleanup()")
    assert [r["time"] for r in await policed.fetch("SELECT time FROM candles_1m")] == [edge]
    (gap,) = await policed.fetch(
        "SELECT gap_start, gap_end, resolved, candles_missing FROM data_quality_logs"
    )
    starts = await policed.fetchval("SELECT lower(expected_range('BTCUSDT'))")
    assert tuple(gap) == (starts, edge, False, (edge - starts) // MINUTE_MS)

"""The models' role reads, inserts predictions, and can do nothing else."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from tests.conftest import READER_PASSWORD
from tests.database.conftest import store

from marketdata import database as db
from marketdata.database import Connection
from marketdata.settings import DatabaseSettings

RANGE = "'2023-03-24Z', '2023-03-25Z'"
TABLES = (
    "candles_1m", "book_ticker_1m", "feature_values", "feature_sets", "stale_features", "ensemble_models",
    "prediction_accuracy", "data_quality_logs", "symbols", "market_clock", "platform_state", "nightly_jobs",
    "schema_migrations",
)  # fmt: skip
ACTS = (
    *(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table}" for table in TABLES),
    *(f"DELETE FROM {table}" for table in (*TABLES, "predictions")),
    *(f"TRUNCATE {table}" for table in (*TABLES, "predictions")),
    *(f"DROP TABLE {table}" for table in (*TABLES, "predictions")),
    *(f"DO 'BEGIN LOCK TABLE {table} IN EXCLUSIVE MODE; END'" for table in (*TABLES, "predictions")),
    "UPDATE candles_1m SET close = 1",
    "UPDATE data_quality_logs SET resolved = true",
    "UPDATE market_clock SET time = now()",
    "UPDATE predictions SET predicted = 2",
    "UPDATE predictions SET actual = 2",
    "UPDATE ensemble_models SET active = false",
    "UPDATE prediction_accuracy SET hit_rate = 1",
    "UPDATE symbols SET status = 'BREAK'",
    "INSERT INTO feature_cache (symbol) VALUES ('B')",
    "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, created_at)"
    " VALUES ('B', now(), 'm', 1, 1, '2020-01-01')",
    "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, actual)"
    " VALUES ('B', now(), 'm', 1, 1, 1)",
    "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, error)"
    " VALUES ('B', now(), 'm', 1, 1, 0)",
    "INSERT INTO ensemble_models (name, version) VALUES ('m', '1')",
    "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted) VALUES ('B', now(), 'm', 1, 1)"
    " ON CONFLICT (symbol, time, model, horizon_minutes) DO UPDATE SET predicted = 2",
    "CALL nightly_cleanup()",
    "CALL nightly_accuracy()",
    "CALL retire_ledger(now())",
    "CALL drop_before('candles_1m', now())",
    "CALL refresh_rollups('2023-03-24Z', '2023-03-25Z')",
    f"CALL recompress({RANGE})",
    "SELECT take_due_job()",
    "SELECT advance_market_clock(now())",
    "SELECT lock_ledger('BTCUSDT')",
    f"SELECT record_missing('BTCUSDT', {RANGE}, 'x')",
    f"SELECT record_outage('BTCUSDT', {RANGE}, interval '1 hour', 10)",
    f"SELECT mark_stale('BTCUSDT', {RANGE}, 10)",
    "SELECT claim_work(interval '1 minute', 10, 'x')",
    "SELECT settle_gap(1, 0, now(), 'x', 'x')",
    "SELECT settle_outage(1, 'x')",
    "CREATE TABLE mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    "CREATE EXTENSION file_fdw",
    "CREATE TRIGGER mine BEFORE INSERT ON predictions EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE predictions DISABLE ROW LEVEL SECURITY",
    "ALTER ROLE mlreader SUPERUSER",
    "GRANT pg_read_all_data TO mlreader",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY candles_1m TO '/tmp/mine'",
    "COPY candles_1m TO PROGRAM 'cat'",
    "COPY candles_1m FROM '/etc/passwd'",
    "SET ROLE pg_read_server_files",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET work_mem = '1MB'",
)


@pytest.fixture
async def reader(market: Connection, database: DatabaseSettings) -> AsyncIterator[Connection]:
    await store(market, range(3))
    opened = await db.connect(replace(database, user="mlreader", password=READER_PASSWORD), "test-reader")
    yield opened
    await opened.close()


async def test_everything_else_is_refused(reader: Connection, market: Connection) -> None:
    before = await market.fetch("SELECT * FROM candles_1m")
    allowed = []
    for act in ACTS:
        try:
            await reader.execute(act)
        except asyncpg.PostgresError as error:
            refused = error
        else:
            allowed.append(act)
            continue
        # 42501: no privilege; 42809 and 55000: nobody may; 22023: no such role here to become.
        state = refused.sqlstate
        assert (
            state == "42501"
            or (act.startswith(("SET ROLE", "SET SESSION")) and state == "22023")
            or ("feature_cache" in act and state == "55000")
        ), f"{act}: {state} {refused}"
    assert allowed == []
    assert await market.fetch("SELECT * FROM candles_1m") == before


async def test_every_routine_that_writes_is_closed(reader: Connection) -> None:
    """A routine added later must be too: whatever is not declared to be read-only is the owner's."""
    open_to_all = await reader.fetch(
        "SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p"
        " WHERE p.pronamespace = 'public'::regnamespace AND p.provolatile = 'v'"
        " AND has_function_privilege(p.oid, 'EXECUTE') AND NOT EXISTS (SELECT FROM pg_depend"
        " WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')"
    )
    assert [row["name"] for row in open_to_all] == []


async def test_reading_is_not(reader: Connection) -> None:
    for question in (
        "SELECT * FROM history_completeness",
        f"SELECT * FROM candle_coverage('BTCUSDT', {RANGE})",
        f"SELECT missing_ranges('BTCUSDT', {RANGE})",
        "SELECT market_now(), server_kind(), expected_range('BTCUSDT')",
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
        " VALUES ('B', now(), 'm', 1, 1)",
    ):
        await reader.fetch(question)


async def test_what_is_promised_is_described(market: Connection) -> None:
    """``\\d+`` explains every relation of the SQL contract."""
    bare = await market.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relname = ANY ($1::text[]) AND obj_description(oid, 'pg_class') IS NULL",
        [
            "symbols", "candles_1m", "candles_5m", "candles_1h", "candles_4h", "candles_1d", "feature_values",
            "feature_sets", "feature_cache", "feature_matrix", "stale_features", "predictions",
            "ensemble_models", "prediction_accuracy", "data_quality_logs", "book_ticker_1m",
            "history_completeness",
        ],
    )  # fmt: skip
    assert [row["relname"] for row in bare] == []
    bare = await market.fetch(
        "SELECT proname FROM pg_proc WHERE proname IN ('candle_coverage', 'market_now')"
        " AND obj_description(oid, 'pg_proc') IS NULL"
    )
    assert [row["proname"] for row in bare] == []

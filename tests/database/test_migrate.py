"""The schema on whatever server the tests run on: applied once, then unchanged, refused when edited."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tests.conftest import MIGRATIONS, READER_PASSWORD, migrate

from marketdata import database as db
from marketdata.database import Connection
from marketdata.errors import SchemaError
from marketdata.features.registry import FEATURE_VERSION, NAMES
from marketdata.migrate import apply, files
from marketdata.settings import DatabaseSettings
from marketdata.store import symbols

RELATIONS = {
    "symbols", "market_clock", "candles_1m", "candles_5m", "candles_1h", "candles_4h", "candles_1d",
    "book_ticker_1m", "feature_values", "feature_sets", "feature_cache", "feature_matrix", "stale_features",
    "predictions", "ensemble_models", "prediction_accuracy", "data_quality_logs", "nightly_jobs",
    "platform_state", "schema_migrations",
}  # fmt: skip


async def _catalogue(connection: Connection) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT c.relname, c.relkind, a.attname, a.atttypid::regtype::text, a.attnotnull"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 ORDER BY 1, 3"
    )
    return [tuple(row) for row in rows]


async def test_first_run_builds_the_whole_contract_and_a_second_changes_nothing(
    empty_database: DatabaseSettings,
) -> None:
    first = await migrate(empty_database)
    connection = await db.connect(empty_database, "test")
    before = await _catalogue(connection)
    second = await migrate(empty_database)
    assert len(first.applied) == len(files.read(MIGRATIONS).numbered)
    assert second.applied == []
    assert await _catalogue(connection) == before
    assert {row[0] for row in before} >= RELATIONS
    await connection.close()


async def test_two_runs_at_once_do_not_disturb_each_other(empty_database: DatabaseSettings) -> None:
    import asyncio

    outcomes = await asyncio.gather(*(migrate(empty_database) for _ in range(3)))
    assert sorted(len(outcome.applied) for outcome in outcomes)[:2] == [0, 0]


async def test_an_edited_migration_is_refused_and_nothing_changes(connection: Connection) -> None:
    found = files.read(MIGRATIONS)
    edited = found._replace(
        numbered=(found.numbered[0]._replace(sha256="0" * 64), *found.numbered[1:]),
    )
    with pytest.raises(SchemaError, match=r"0001_market\.sql was edited"):
        await apply.apply(connection, edited, policies=None, reader_password="")


async def test_an_error_in_a_migration_names_file_and_line(connection: Connection) -> None:
    found = files.read(MIGRATIONS)
    broken = files.SqlFile("99_broken.sql", "SELECT 1;\nSELEC 2;\n", "x")
    with pytest.raises(SchemaError, match=r"99_broken\.sql line 2"):
        await apply.apply(
            connection,
            found._replace(repeatable=(*found.repeatable, broken)),
            policies=None,
            reader_password="",
        )


async def test_the_feature_set_is_recorded_and_checked(connection: Connection) -> None:
    assert await connection.fetchval(
        "SELECT names FROM feature_sets WHERE version = $1", FEATURE_VERSION
    ) == list(NAMES)
    assert await symbols.check_schema(connection) in apply.LACKING
    await connection.execute("UPDATE feature_sets SET names = '{other}'")
    with pytest.raises(SchemaError):
        await symbols.check_schema(connection)


async def test_a_database_without_schema_says_what_to_run(empty_database: DatabaseSettings) -> None:
    connection = await db.connect(empty_database, "test")
    with pytest.raises(SchemaError, match=r"marketdata\.migrate"):
        await symbols.check_schema(connection)
    await connection.close()


async def _policies(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "SELECT proc_name, hypertable_name FROM timescaledb_information.jobs WHERE job_id >= 1000"
    )
    return {row["proc_name"] for row in rows}


async def test_policies_and_jobs_on_the_community_edition(empty_database: DatabaseSettings) -> None:
    outcome = await migrate(empty_database)
    if outcome.server_kind != "community":
        pytest.skip(f"this server is {outcome.server_kind}: no policies")
    connection = await db.connect(empty_database, "test")
    assert await _policies(connection) == {
        "policy_retention", "policy_compression", "policy_refresh_continuous_aggregate",
        "nightly_cleanup", "nightly_accuracy",
    }  # fmt: skip
    due = await connection.fetch(
        "SELECT proc_name, to_char(initial_start AT TIME ZONE 'UTC', 'HH24:MI') AS at"
        " FROM timescaledb_information.jobs WHERE proc_name LIKE 'nightly%'"
    )
    at = {row["proc_name"]: row["at"] for row in due}
    assert at == {"nightly_cleanup": "02:00", "nightly_accuracy": "03:00"}
    await migrate(empty_database, policies=False)
    assert await _policies(connection) == set()
    await migrate(empty_database)
    assert await _policies(connection) == set(), "a later run keeps what was decided"
    await migrate(empty_database, policies=True)
    assert len(await _policies(connection)) == 5
    await connection.close()


async def test_the_reader_reads_everything_and_writes_predictions_only(
    database: DatabaseSettings, connection: Connection
) -> None:
    reader = await db.connect(replace(database, user="mlreader", password=READER_PASSWORD), "test-reader")
    for name in RELATIONS:
        await reader.fetch(f'SELECT * FROM "{name}" LIMIT 1')
    await reader.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, confidence)"
        " VALUES ('BTCUSDT', 1679616000000::text::timestamptz, 'm', 5, 1.5, 0.6)".replace(
            "1679616000000::text::timestamptz", "'2023-03-24'"
        )
    )
    assert await connection.fetchval("SELECT count(*) FROM predictions WHERE created_at IS NOT NULL") == 1
    for forbidden in (
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, created_at)"
        " VALUES ('B', '2023-03-24', 'm', 5, 1.5, '2020-01-01')",
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, actual)"
        " VALUES ('B', '2023-03-24', 'm', 5, 1.5, 1.5)",
        "UPDATE predictions SET predicted = 2",
        "DELETE FROM predictions",
        "UPDATE candles_1m SET close = 1",
        "DELETE FROM data_quality_logs",
        "TRUNCATE feature_values",
        "SELECT record_missing('BTCUSDT', '2023-03-24', '2023-03-25', 'x')",
        "SELECT advance_market_clock(now())",
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "DROP TABLE candles_1m",
        "CREATE ROLE more",
        "SET ROLE pg_read_server_files",
    ):
        with pytest.raises(asyncpg.PostgresError):
            await reader.execute(forbidden)
    await reader.close()


async def test_sessions_start_with_the_databases_settings(connection: Connection) -> None:
    assert await connection.fetchval("SHOW random_page_cost") == "1.1"
    if await connection.fetchval("SELECT server_kind()") == "community":
        assert await connection.fetchval("SHOW timescaledb.compression_batch_size_limit") == "2520"


async def test_who_does_not_own_the_database_is_told_and_may_go_on(connection: Connection) -> None:
    (settings,) = [f for f in files.read(MIGRATIONS).repeatable if f.name.endswith("15_settings.sql")]
    said: list[str] = []
    connection.add_log_listener(lambda _, message: said.append(message.message))
    await connection.execute("SET ROLE mlreader")
    await connection.execute(settings.text)
    assert len(said) == 1
    assert "are its owner's to make" in said[0]


async def test_feature_values_are_not_counted_when_a_chunk_is_analysed(connection: Connection) -> None:
    """In the table and in the chunks it makes: a sort of 77 numbers of every sampled row, for no query."""
    await connection.execute(
        "INSERT INTO feature_values VALUES ('BTCUSDT', '2023-03-24 00:01Z', 1, '{0.5}', 1, '2023-03-24Z')"
    )
    targets = await connection.fetch(
        "SELECT attstattarget FROM pg_attribute AS a WHERE attname = 'values' AND attrelid IN ("
        " SELECT 'feature_values'::regclass UNION"
        " SELECT inhrelid FROM pg_inherits WHERE inhparent = 'feature_values'::regclass)"
    )
    assert {row[0] for row in targets} == {0}

"""Each hot query reads by an index: a sequential scan of the tables that grow is a failure."""

import json
from typing import Any

import pytest
from tests.database.conftest import store

from marketdata.database import Connection
from marketdata.store.queries import QUERIES

GROWING = ("candles_1m", "feature_values", "book_ticker_1m", "predictions", "_hyper_")


def scans(node: dict[str, Any]) -> list[str]:
    found = []
    if node["Node Type"] == "Seq Scan":
        found.append(node["Relation Name"])
    for child in node.get("Plans", []):
        found += scans(child)
    return found


@pytest.mark.parametrize(
    "query",
    [
        "SELECT time, close FROM candles_1m ORDER BY time DESC LIMIT 5",
        "SELECT * FROM candles_1m WHERE symbol = 'BTCUSDT' ORDER BY time DESC LIMIT 1",
        "SELECT * FROM candles_1m WHERE symbol = 'BTCUSDT' AND time >= '2023-03-24 01:00Z'",
        "SELECT features_json FROM feature_cache WHERE time = '2023-03-24 01:00Z'",
        "SELECT features_json FROM feature_cache WHERE symbol = 'BTCUSDT' AND time = '2023-03-24 01:00Z'",
        "SELECT * FROM feature_matrix WHERE symbol = 'BTCUSDT' AND time > '2023-03-24 01:00Z'",
    ],
)
async def test_models_queries(market: Connection, query: str) -> None:
    await store(market, range(100))
    await market.execute("SET enable_seqscan = off")
    plan = json.loads(await market.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
    assert [name for name in scans(plan) if name.startswith(GROWING)] == []


@pytest.mark.parametrize("name", ["window_candles", "window_books"])
async def test_window_queries(market: Connection, name: str) -> None:
    await store(market, range(100))
    await market.execute("SET enable_seqscan = off")
    query = (
        QUERIES[name].replace("$1", "'BTCUSDT'").replace("$2", "'2023-03-24'").replace("$3", "'2023-03-25'")
    )
    plan = json.loads(await market.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
    assert scans(plan) == []


async def test_a_look_at_the_minutes_opens_only_the_chunks_it_reads(market: Connection) -> None:
    """An audit of 13 months asks for days one by one: each must not open the whole history."""
    if await market.fetchval("SELECT server_kind()") == "plain":
        pytest.skip("no chunks on this server")
    await market.execute(
        "INSERT INTO candles_1m SELECT 'BTCUSDT', time, 1, 2, 0.5, 1.5, 10, 15, 3, 5, 7.5, 'rest', time"
        " FROM generate_series(timestamptz '2023-01-01Z', '2023-03-24Z', interval '1 hour') AS time"
    )
    chunks = await market.fetchval("SELECT count(*) FROM show_chunks('candles_1m')")
    assert chunks > 10
    for function in ("missing_ranges", "candle_kinds"):
        async with market.transaction():
            await market.execute(
                f"SELECT {function}('BTCUSDT', '2023-02-01Z', '2023-02-02Z')"  # one of two constant names
            )
            touched = await market.fetchval(
                "SELECT count(DISTINCT l.relation) FROM pg_locks AS l"
                " JOIN show_chunks('candles_1m') AS c ON c::oid = l.relation"
                " WHERE l.pid = pg_backend_pid() AND l.mode = 'AccessShareLock'"
            )
        # The planner of TimescaleDB locks what it does not exclude.
        assert touched == 1, function


@pytest.mark.parametrize("function", ["missing_ranges", "candle_kinds"])
async def test_the_statements_inside_coverage_read_by_the_key_without_a_loop_over_rows(
    market: Connection, function: str
) -> None:
    """EXPLAIN of every statement the function runs: candles are read by the key, never once a row."""
    await store(market, [n for n in range(100) if n % 7])
    await market.execute("ANALYZE candles_1m")
    await market.execute("SET enable_seqscan = off")
    body = await market.fetchval("SELECT prosrc FROM pg_proc WHERE proname = $1", function)
    statements = [part for tag in ("$days$", "$rows$") for part in body.split(tag)[1::2]]
    assert len(statements) == 2
    values = {"$1": "'BTCUSDT'", "$2": "timestamptz '2023-03-24Z'", "$3": "timestamptz '2023-03-25Z'"}
    for statement in statements:
        for name, value in (values | {"$4": "'rest'"}).items():
            statement = statement.replace(name, value)
        plan = json.loads(await market.fetchval(f"EXPLAIN (FORMAT JSON) {statement}"))[0]["Plan"]
        assert [name for name in scans(plan) if name.startswith(GROWING)] == []
        assert not joined(plan), statement


def joined(node: dict[str, Any]) -> bool:
    """Return whether candles are read inside a nested loop."""
    children = node.get("Plans", [])
    if node["Node Type"] == "Nested Loop" and len(children) == 2 and "candles_1m" in json.dumps(children[1]):
        return True
    return any(joined(child) for child in children)

"""Each hot query reads by an index: a sequential scan of the tables that grow is a failure."""

import json
import re
from typing import Any

import pytest
from tests.database.conftest import store

from marketdata.database import Connection
from marketdata.features.registry import FEATURE_VERSION
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


@pytest.mark.parametrize("name", ["copy_window_candles", "copy_window_books", "newest_candles"])
async def test_windows_of_many_symbols_are_read_by_the_key(market: Connection, name: str) -> None:
    await store(market, range(100))
    await market.execute("ANALYZE candles_1m; SET enable_seqscan = off")
    values = {"$1": "'{BTCUSDT,ETHUSDT}'", "$2": "'2023-03-24Z'", "$3": "'2023-03-25Z'"}
    query = QUERIES[name]
    for place, value in values.items():
        query = query.replace(place, value)
    plan = nodes(json.loads(await market.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"])
    assert [found for node in plan for found in scans(node)] == []


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


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a plan's nodes, the root first."""
    return [node, *(found for child in node.get("Plans", []) for found in nodes(child))]


LIVE = "SELECT features_json FROM feature_cache WHERE symbol = 'BTCUSDT'"
FRAME = "SELECT * FROM feature_matrix WHERE symbol = 'BTCUSDT'"


@pytest.mark.parametrize(
    ("query", "chunks", "rows"),
    [
        (f"{LIVE} AND time = '2023-03-24 01:00Z'", 1, 1),
        ("SELECT features_json FROM feature_cache WHERE time = '2023-03-24 01:00Z'", 1, 3),
        (f"{LIVE} ORDER BY time DESC LIMIT 1", 1, 1),
        (f"{LIVE} AND time > '2023-03-24 00:50Z' ORDER BY time DESC LIMIT 1", 1, 1),
        (f"{FRAME} AND time > '2023-03-23 01:00Z' AND time <= '2023-03-24 01:00Z'", 2, 288),
        (f"{FRAME} ORDER BY time DESC LIMIT 1", 1, 1),
    ],
)
async def test_feature_rows_are_read_by_the_key_from_the_chunks_that_hold_them(
    market: Connection, query: str, chunks: int, rows: int
) -> None:
    """A model asks for one symbol of many, over days: nothing but its rows is read."""
    await market.execute(
        "INSERT INTO feature_values"
        " SELECT symbol, time, $1, array_fill(0.5::float8, '{40}'), 1, time"
        " FROM generate_series(timestamptz '2023-03-20 01:00Z', '2023-03-24 01:00Z', '5 minutes') AS time,"
        " unnest('{BTCUSDT,AAAUSDT,ZZZUSDT}'::text[]) AS symbol",
        FEATURE_VERSION,
    )  # fmt: skip
    await market.execute("ANALYZE feature_values")
    await market.execute("SET enable_seqscan = off")
    explained = await market.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}")
    plan = nodes(json.loads(explained)[0]["Plan"])
    assert [node for node in plan if node["Node Type"] == "Seq Scan"] == []
    read = [
        node
        for node in plan
        if node.get("Relation Name", "").startswith(GROWING)
        and node["Actual Loops"]
        and node["Node Type"] != "Custom Scan"
    ]
    plain = await market.fetchval("SELECT server_kind() = 'plain'")
    assert len(read) == (1 if plain else chunks)
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) == rows
    # The time's own index may be chosen for one minute: it holds the other two symbols' rows, too.
    assert sum(node.get("Rows Removed by Filter", 0) for node in read) <= 2


async def test_the_night_finds_what_is_unscored_without_the_scored(market: Connection) -> None:
    await market.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, created_at, actual, error)"
        " SELECT 'BTCUSDT', time, 'm', 15, 1, time, CASE WHEN extract(minute FROM time) > 0 THEN 1 END, 0"
        " FROM generate_series(timestamptz '2023-02-01Z', '2023-03-24Z', interval '3 minutes') AS time"
    )
    await market.execute("ANALYZE predictions")
    body = await market.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'nightly_accuracy'")
    statement = body.split("UNION\n", 1)[1].split("ORDER BY 1", 1)[0]
    for name, value in (("kept", "2000-01-01Z"), ("recent", "2023-03-20Z"), ("heard", "2023-03-27Z")):
        statement = re.sub(rf"\b{name}\b", f"timestamptz '{value}'", statement)
    statement = statement.replace("one_day", "interval '24 hours'").replace("midnight", "'2000-01-01Z'")
    plan = nodes(json.loads(await market.fetchval(f"EXPLAIN (FORMAT JSON) {statement}"))[0]["Plan"])
    used = {
        node["Index Name"] for node in plan if "Index Name" in node and "predictions" in node["Index Name"]
    }
    assert used
    assert all(name.endswith("predictions_unscored_idx") for name in used), used
    assert [name for node in plan for name in scans(node) if name.startswith(GROWING)] == []


async def test_recent_hours_of_one_symbol_are_read_by_its_key(market: Connection) -> None:
    """Among fifty symbols: the time's own index would bring the rows of all, fifty times as many."""
    await market.execute(
        "INSERT INTO candles_1m SELECT symbol, time, 1, 2, 0.5, 1.5, 10, 15, 3, 5, 7.5, 'stream', time"
        " FROM generate_series(timestamptz '2023-03-24Z', '2023-03-24 23:59Z', '1 minute') AS time,"
        " (SELECT 'S' || n || 'USDT' FROM generate_series(10, 59) AS n) AS s (symbol) ORDER BY time, symbol"
    )
    await market.execute("ANALYZE candles_1m")
    explained = await market.fetchval(
        "EXPLAIN (FORMAT JSON) SELECT * FROM candles_1m WHERE symbol = 'S33USDT'"
        " AND time >= '2023-03-24 20:00Z' AND time < '2023-03-24 22:00Z'"
    )
    plan = nodes(json.loads(explained)[0]["Plan"])
    assert [node for node in plan if node["Node Type"] == "Seq Scan"] == []
    assert all(node["Index Name"].endswith("pkey") for node in plan if "Index Name" in node)


async def test_the_newest_row_is_planned_over_few_chunks(market: Connection) -> None:
    """A history of months, asked for its newest row without a bound: four weeks of it are one chunk."""
    if await market.fetchval("SELECT server_kind()") != "community":
        pytest.skip("no columnstore on this server")
    await market.execute(
        "INSERT INTO candles_1m SELECT 'BTCUSDT', time, 1, 2, 0.5, 1.5, 10, 15, 3, 5, 7.5, 'rest', time"
        " FROM generate_series(timestamptz '2022-03-24Z', '2023-03-24Z', interval '1 hour') AS time"
    )
    await market.execute("SELECT compress_chunk(c) FROM show_chunks('candles_1m') AS c")
    async with market.transaction():
        query = "SELECT * FROM candles_1m WHERE symbol = 'BTCUSDT' ORDER BY time DESC LIMIT 1"
        plan = nodes(json.loads(await market.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}"))[0]["Plan"])
        touched = await market.fetchval(
            "SELECT count(DISTINCT l.relation) FROM pg_locks AS l"
            " JOIN show_chunks('candles_1m') AS c ON c::oid = l.relation WHERE l.pid = pg_backend_pid()"
        )
    assert touched <= 14, "of a year"
    read = [
        node for node in plan if node.get("Relation Name", "").startswith("_hyper_") and node["Actual Loops"]
    ]
    assert len({node["Relation Name"].removesuffix("_compressed") for node in read}) == 1

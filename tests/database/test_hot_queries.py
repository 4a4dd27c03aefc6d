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

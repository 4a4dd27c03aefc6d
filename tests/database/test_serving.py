"""What models read of a row, whatever was stored in it: JSON that is JSON, columns that are numbers."""

import json
import math
from dataclasses import replace
from typing import Any

import asyncpg
import numpy as np
import pytest
from tests.database.conftest import minute

from marketdata import database as db
from marketdata.database import Connection
from marketdata.features import NAMES, REGISTRY
from marketdata.features.engine import Result
from marketdata.features.registry import FEATURE_VERSION, names
from marketdata.features.view import KEYS, render_view
from marketdata.settings import DatabaseSettings
from marketdata.store import features

PLACES = len(NAMES)
ODD = (None, math.nan, math.inf, -math.inf)
EDGES = (0.0, -0.0, 0.1, 1 / 3, -1e-300, 5e-324, 1.7976931348623157e308, 123456789012345680.0, -2.5)


def strict(text: str) -> dict[str, float | None]:
    """Parse JSON as RFC 8259 has it, where Python's own parser takes NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    parsed: dict[str, float | None] = json.loads(text, parse_constant=refuse)
    return parsed


async def put(
    connection: Connection, n: int, values: list[float | None], version: int = FEATURE_VERSION
) -> None:
    await connection.execute(
        "INSERT INTO feature_values VALUES ('BTCUSDT', $1, $2, $3, 1, $1)", minute(n), version, values
    )


async def read(connection: Connection, n: int) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return a row of ``feature_cache``, parsed, and the features of ``feature_matrix``."""
    text = await connection.fetchval("SELECT features_json FROM feature_cache WHERE time = $1", minute(n))
    row = await connection.fetchrow("SELECT * FROM feature_matrix WHERE time = $1", minute(n))
    assert row is not None
    return strict(text), {name: value for name, value in row.items() if name not in KEYS}


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_what_is_not_a_number_is_null_at_every_place(market: Connection, odd: float | None) -> None:
    numbers = [EDGES[place % len(EDGES)] for place in range(PLACES)]
    for place in range(PLACES):
        await put(market, place, [*numbers[:place], odd, *numbers[place + 1 :]])
    await put(market, PLACES, [odd] * PLACES)
    for place in range(PLACES):
        expected = dict(zip(NAMES, [*numbers[:place], None, *numbers[place + 1 :]], strict=True))
        assert await read(market, place) == (expected, expected)
    assert await read(market, PLACES) == (dict.fromkeys(NAMES),) * 2


async def test_numbers_come_back_bit_by_bit_in_their_order(market: Connection) -> None:
    powers = 10.0 ** (np.arange(PLACES) - PLACES // 2)
    values = np.random.default_rng(5).standard_normal(PLACES) * powers
    await put(market, 1, values.tolist())
    parsed, columns = await read(market, 1)
    assert list(parsed.items()) == list(columns.items()) == list(zip(NAMES, values.tolist(), strict=True))


async def test_what_the_store_writes_holds_no_nan(market: Connection) -> None:
    """A client that reads ``feature_values`` itself meets null, too."""
    result = Result(
        time=np.array([minute(1)]),
        values=np.full((1, PLACES), np.nan),
        window_coverage=np.ones(1),
        emit=np.array([True]),
    )
    await features.insert(market, [("BTCUSDT", result)], known_at=minute(1))
    assert await market.fetchval("SELECT values FROM feature_values") == [None] * PLACES


async def test_a_row_is_named_by_its_own_version(market: Connection) -> None:
    first = names(1)
    assert len(first) == 29, "what was released"
    await market.execute("INSERT INTO feature_sets (version, names) VALUES (1, $1)", list(first))
    await put(market, 1, [float(place) for place in range(29)], version=1)
    parsed, columns = await read(market, 1)
    assert parsed == {name: float(place) for place, name in enumerate(first)}
    assert columns == parsed | dict.fromkeys(NAMES[29:])


async def test_a_row_shorter_than_its_set_is_null_in_what_it_lacks(market: Connection) -> None:
    await put(market, 1, [0.5, None])
    expected = {NAMES[0]: 0.5} | dict.fromkeys(NAMES[1:])
    assert await read(market, 1) == (expected, expected)


async def test_a_retired_feature_keeps_its_place_and_its_old_values(market: Connection) -> None:
    numbers: list[float | None] = [float(place) for place in range(PLACES)]
    await put(market, 1, numbers)
    newer = FEATURE_VERSION + 1
    await market.execute("INSERT INTO feature_sets (version, names) VALUES ($1, $2)", newer, list(NAMES))
    retired = (REGISTRY[0], replace(REGISTRY[1], retired_version=newer), *REGISTRY[2:])
    await market.execute(render_view(retired))
    await put(market, 2, [numbers[0], None, *numbers[2:]], version=newer)
    before = dict(zip(NAMES, numbers, strict=True))
    assert await read(market, 1) == (before, before)
    assert await read(market, 2) == (before | {NAMES[1]: None},) * 2


async def test_appended_features_reach_a_client_that_reads_all_columns(
    market: Connection, database: DatabaseSettings
) -> None:
    """A statement the driver keeps is made again; one that the client prepared has to be prepared again."""
    question = "SELECT * FROM feature_matrix"
    await put(market, 1, [1.0] * PLACES)
    client = await db.connect(database, "test-client")
    try:
        own = await client.prepare(question)
        assert (
            len(await client.fetchrow(question) or ())
            == len(await own.fetchrow() or ())
            == len(KEYS) + PLACES
        )
        added = replace(REGISTRY[0], name="added")
        await market.execute(render_view((*REGISTRY, added)))
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            await own.fetchrow()
        row = await client.fetchrow(question)
        assert row is not None
        assert list(row.keys()) == [*KEYS, *NAMES, "added"]
        assert row["added"] is None
    finally:
        await client.close()


async def test_every_feature_column_is_a_double_and_the_keys_come_first(market: Connection) -> None:
    columns = await market.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'feature_matrix'"
        " ORDER BY ordinal_position"
    )
    keys = ("text", "timestamp with time zone", "integer", "double precision", "timestamp with time zone")
    assert [tuple(row) for row in columns] == [
        *zip(KEYS, keys, strict=True),
        *((name, "double precision") for name in NAMES),
    ]

"""The newest row, or one; and what a caller is told when the database can't or won't answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.client.conftest import at, insert, minute
from tests.conftest import READER_PASSWORD
from tests.processes import until

from marketdata.client import AsyncClient, FeatureRow
from marketdata.database import Connection
from marketdata.errors import ConfigurationError, DatabaseUnavailableError, RequestError, SchemaError
from marketdata.features.registry import FEATURE_VERSION, NAMES
from marketdata.settings import DatabaseSettings


async def test_the_newest_row_or_that_of_an_instant(market: Connection, client: AsyncClient) -> None:
    assert await client.latest("BTCUSDT") is None
    await insert(market, "BTCUSDT", [1, 3])
    await insert(market, "ETHUSDT", [4])
    row = await client.latest("BTCUSDT")
    assert row == FeatureRow(
        "BTCUSDT", at(3),
        {name: None if place == 1 else 3 + place / 1000 for place, name in enumerate(NAMES)},
        0.5, at(3).replace(microsecond=40_000), FEATURE_VERSION,
    )  # fmt: skip
    earlier = await client.latest("BTCUSDT", at(1))
    assert earlier is not None
    assert earlier.time == at(1)
    assert await client.latest("BTCUSDT", at(2)) is None


async def test_many_may_ask_at_once(market: Connection, client: AsyncClient) -> None:
    await insert(market, "BTCUSDT", [1])
    rows = await asyncio.gather(*(client.latest("BTCUSDT") for _ in range(20)))
    assert {row.time for row in rows if row is not None} == {at(1)}
    assert await client.symbols() == ["BTCUSDT", "ETHUSDT"]


async def test_an_unknown_symbol_is_refused(client: AsyncClient) -> None:
    with pytest.raises(RequestError, match="no symbol 'BTC': did you mean BTCUSDT"):
        await client.latest("BTC")
    with pytest.raises(RequestError, match="symbol must be names, got None"):
        await client.latest(None)  # type: ignore[arg-type]


async def test_a_session_that_was_ended_is_replaced(market: Connection, client: AsyncClient) -> None:
    await insert(market, "BTCUSDT", [1])
    assert await client.latest("BTCUSDT") is not None
    sessions = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'marketdata-client' AND datname = current_database()"
    )

    async def ended() -> bool:
        return not await market.fetch(f"SELECT pg_terminate_backend(pid) FROM ({sessions}) AS s")

    await until(ended, seconds=30, what="the session is gone")
    assert await client.latest("BTCUSDT") is not None


async def test_an_unreachable_database_says_so(reader: DatabaseSettings) -> None:
    async with AsyncClient(replace(reader, host="127.0.0.1", port=1)) as client:
        with pytest.raises(DatabaseUnavailableError, match=r"at 127\.0\.0\.1:1"):
            await client.latest("BTCUSDT")


async def test_a_database_without_a_schema_says_so(empty_database: DatabaseSettings) -> None:
    async with AsyncClient(empty_database) as client:
        with pytest.raises(SchemaError, match="has no schema this client knows"):
            await client.latest("BTCUSDT")


async def test_a_refusal_names_the_role_and_no_password(reader: DatabaseSettings) -> None:
    async with AsyncClient(replace(reader, user="nobody-here")) as client:
        with pytest.raises(ConfigurationError, match="refuses nobody-here") as caught:
            await client.latest("BTCUSDT")
        assert READER_PASSWORD not in str(caught.value) + repr(client)


async def test_a_closed_client_says_so(reader: DatabaseSettings) -> None:
    client = AsyncClient(reader)
    await client.close()
    await client.close()
    with pytest.raises(RequestError, match="closed"):
        await client.latest("BTCUSDT")
    with pytest.raises(RequestError, match="closed"):
        client.subscribe()


async def test_an_hour_of_market_time_is_no_concern(market: Connection, client: AsyncClient) -> None:
    """The newest row is the newest there is: no clock is asked."""
    await insert(market, "BTCUSDT", [1])
    await market.execute("SELECT advance_market_clock($1)", minute(600))
    row = await client.latest("BTCUSDT")
    assert row is not None
    assert row.time == at(1)

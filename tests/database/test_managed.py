"""A database of one's own: what its role needs."""

from __future__ import annotations

import uuid
from dataclasses import replace

from tests.conftest import migrate

from marketdata import database as db
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.shards import Shard
from marketdata.store import shards, symbols
from marketdata.store.candles import Row, write


async def test_a_role_that_only_owns_its_database_is_enough(empty_database: DatabaseSettings) -> None:
    """No superuser, no CREATEROLE: as on a managed server. TimescaleDB is created by whoever may."""
    owner = f"owner_{uuid.uuid4().hex[:8]}"
    admin = await db.connect(empty_database, "test-admin")
    await admin.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'owner' NOSUPERUSER NOCREATEROLE NOCREATEDB")
    try:
        if await admin.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"):
            await admin.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await admin.execute(f'ALTER DATABASE "{empty_database.name}" OWNER TO {owner}')
        own = replace(empty_database, user=owner, password="owner")
        await migrate(own, policies=False)
        connection = await db.connect(own, "test")
        now = 1_679_616_000_000
        await symbols.check_schema(connection)
        await symbols.claim_exchange(connection, "simulator")
        await symbols.register(connection, {"BTCUSDT": "TRADING"}, now_ms=now, history_days=1)
        assert await shards.claim(connection, Shard(1, 2)) == []
        candle = Candle("BTCUSDT", now - MINUTE_MS, 1.0, 2.0, 0.5, 1.5, 10.0, 15.0, 3, 5.0, 7.5)
        assert (await write(connection, [Row(candle, now)], source=Source.STREAM, head=True)).inserted == 1
        await connection.close()
    finally:
        await admin.execute(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
        await admin.execute(f"DROP OWNED BY {owner}")
        await admin.execute(f"DROP ROLE {owner}")
        await admin.close()

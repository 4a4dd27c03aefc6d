"""Who computes which symbols' rows: one process a shard, all of them of the same n.

Candles may be written by any number of feeders: the same row twice changes nothing. Feature rows may not: a
process keeps its symbols' newest minutes in memory, and what another one settles does not reach it there.
"""

from __future__ import annotations

from typing import Final

from marketdata.database import Connection
from marketdata.shards import Shard
from marketdata.store.queries import QUERIES

KEY: Final = 1_953_002
"""The first half of these advisory locks' keys; the second is ``1000 n + i``."""


async def claim(connection: Connection, shard: Shard) -> list[str]:
    """Take a shard for as long as this session lives; return who is in the way, else nothing.

    Feeders ask one after the other, so that of two that come at once one has it. The server forgets a session
    whose machine is gone, or whose process was killed in the middle of a statement, after half a minute at
    most.
    """
    await connection.execute(
        "SELECT set_config('tcp_keepalives_idle', '10', false),"
        " set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false),"
        " set_config('tcp_user_timeout', '25000', false),"
        " set_config('client_connection_check_interval', '5s', false)"
    )
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('shards', 0))")
        others = await connection.fetch(QUERIES["others_on_shards"], KEY, shard.number, shard.of)
        if not others:
            await connection.execute(
                "SELECT pg_advisory_lock($1::integer, $2::integer)", KEY, 1000 * shard.of + shard.number
            )
    return [f"{record['number']}/{record['count']} at {record['address']}" for record in others]

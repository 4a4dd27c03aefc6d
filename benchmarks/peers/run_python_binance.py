"""``python-binance``'s multiplexed socket and a row at a time by ``psycopg``, as their documentations have
it.

Set besides: the addresses, which are attributes of its classes, and ``max_queue_size``, a parameter of its
socket manager: at its default of 100 messages the socket gives up for good when rows come faster than they
are written.
"""

import asyncio
import contextlib
import datetime as dt
import os

import psycopg
from binance import AsyncClient, BinanceSocketManager

INSERT = "INSERT INTO peer_python_binance VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"


async def main() -> None:
    """Store closed candles until killed."""
    BinanceSocketManager.STREAM_URL = os.environ["STREAM_URL"] + "/"
    client = AsyncClient()
    manager = BinanceSocketManager(client, max_queue_size=10_000_000)
    streams = [f"{name.lower()}@kline_1m" for name in os.environ["SYMBOLS"].split(",")]
    connection = await psycopg.AsyncConnection.connect(
        host=os.environ["DB_HOST"],
        port=os.environ["DB_PORT"],
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASSWORD"],
        dbname=os.environ["DB_NAME"],
        autocommit=True,
    )
    async with connection, manager.multiplex_socket(streams) as socket:
        while True:
            message = await socket.recv()
            if message.get("e") == "error":
                raise RuntimeError(f"python-binance: {message}")
            k = message["data"]["k"]
            if not k["x"]:
                continue
            opened = dt.datetime.fromtimestamp(k["t"] / 1000, dt.UTC)
            values = (k["s"], opened, k["o"], k["h"], k["l"], k["c"], k["v"], k["n"])
            # One that was sent twice.
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                await connection.execute(INSERT, values)


if __name__ == "__main__":
    asyncio.run(main())

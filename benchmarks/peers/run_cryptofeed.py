"""``cryptofeed`` with its Postgres backend, as its ``examples/demo_postgres.py`` puts it together: candles
only.

Set besides: the addresses, which are attributes of its Binance class; the table's name; and an event loop,
which it expects to find and newer versions of ``uvloop`` no longer make by themselves.
"""

import asyncio
import os

from cryptofeed import FeedHandler
from cryptofeed.backends.postgres import CandlesPostgres
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import CANDLES
from cryptofeed.exchanges import Binance

# Both hold addresses of the exchange; the rest of them is as it comes.
Binance.websocket_endpoints = [WebsocketEndpoint(os.environ["STREAM_URL"])]
Binance.rest_endpoints = [RestEndpoint(os.environ["API_URL"], routes=Routes("/api/v3/exchangeInfo"))]


def main() -> None:
    """Store closed candles until killed."""
    database = {
        "host": os.environ["DB_HOST"],
        "port": int(os.environ["DB_PORT"]),
        "user": os.environ["DB_USER"],
        "pw": os.environ["DB_PASSWORD"],
        "db": os.environ["DB_NAME"],
        "table": "peer_cryptofeed",
    }
    handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": True})
    # Of uvloop's kind: the handler has just chosen that.
    asyncio.set_event_loop(asyncio.new_event_loop())
    symbols = [f"{name.removesuffix('USDT')}-USDT" for name in os.environ["SYMBOLS"].split(",")]
    # Closed candles only is its default; it is what everybody here is asked for.
    callbacks = {CANDLES: CandlesPostgres(**database)}
    handler.add_feed(
        Binance(channels=[CANDLES], symbols=symbols, candle_closed_only=True, callbacks=callbacks)
    )
    handler.run()


if __name__ == "__main__":
    main()

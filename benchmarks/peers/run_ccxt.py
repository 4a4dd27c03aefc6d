"""``ccxt``'s pages of a thousand candles, each written by ``psycopg``'s ``executemany``, as its manual pages
by time.

Set besides: the address, by its own configuration, and that only spot's markets are loaded.
"""

import datetime as dt
import os

import ccxt
import psycopg

INSERT = "INSERT INTO peer_ccxt VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
PAGE = 1000


def main() -> None:
    """Fetch every symbol's candles from ``FROM_MS`` to ``TO_MS``, a symbol after another."""
    first, end = int(os.environ["FROM_MS"]), int(os.environ["TO_MS"])
    url = os.environ["API_URL"] + "/api/v3"
    exchange = ccxt.binance(
        {
            "enableRateLimit": True,
            "urls": {"api": {"public": url, "private": url}},
            "options": {"fetchMarkets": {"types": ["spot"]}},
        }
    )
    database = {name: os.environ[f"DB_{name.upper()}"] for name in ("host", "port", "user", "password")}
    with psycopg.connect(**database, dbname=os.environ["DB_NAME"]) as connection:
        for name in os.environ["SYMBOLS"].split(","):
            since = first
            while since < end:
                page = exchange.fetch_ohlcv(f"{name.removesuffix('USDT')}/USDT", "1m", since, PAGE)
                if not page:
                    break
                rows = [
                    (name, dt.datetime.fromtimestamp(opened / 1000, dt.UTC), *numbers)
                    for opened, *numbers in page
                    if opened < end
                ]
                with connection.cursor() as cursor:
                    cursor.executemany(INSERT, rows)
                connection.commit()
                since = page[-1][0] + 60_000


if __name__ == "__main__":
    main()

"""A naive model in plain SQL: psycopg2, json.loads, and LISTEN instead of asking again and again.

It expects a tenth of the last 15 minutes' return to come back within the next 15 minutes.

    DB_PASSWORD=... python examples/baseline_psycopg2.py --symbol BTCUSDT --rows 3
"""

import argparse
import json
import math
import os
import select

import psycopg2

MODEL, HORIZON, REVERSION = "baseline-psycopg2", 15, -0.1

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--symbol", default="BTCUSDT")
arguments.add_argument("--rows", type=int, default=0, help="stop after so many predictions; 0: never")
options = arguments.parse_args()

connection = psycopg2.connect(
    host=os.environ.get("DB_HOST", "127.0.0.1"),
    port=os.environ.get("DB_PORT", "5432"),
    dbname=os.environ.get("DB_NAME", "btc_ml_production"),
    user=os.environ.get("DB_USER", "mlreader"),
    password=os.environ.get("DB_PASSWORD", ""),
)
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("SELECT symbol FROM symbols ORDER BY symbol")
symbols = [symbol for (symbol,) in cursor]
if options.symbol not in symbols:
    raise SystemExit(f"there is no symbol {options.symbol} here, only: {', '.join(symbols) or 'none yet'}")
cursor.execute("LISTEN features")
print(f"waiting for rows of {options.symbol}", flush=True)


def new_rows():
    """Yield the time of each new feature row of the symbol."""
    while True:
        select.select([connection], [], [])
        connection.poll()
        while connection.notifies:
            heard = json.loads(connection.notifies.pop(0).payload)
            if heard["symbol"] == options.symbol:
                yield heard["time"]


made = 0
for time in new_rows():
    key = (options.symbol, time)
    cursor.execute("SELECT features_json FROM feature_cache WHERE symbol = %s AND time = %s", key)
    features = json.loads(cursor.fetchone()[0])
    # A feature row's time is the close of its last candle; that candle opened a minute earlier.
    cursor.execute(
        "SELECT close FROM candles_1m WHERE symbol = %s AND time = %s::timestamptz - interval '1 minute'", key
    )
    price = cursor.fetchone()[0]
    if features["return_15m"] is None:
        continue  # not defined: too little history, or a minute is missing
    predicted = price * math.exp(REVERSION * features["return_15m"])
    cursor.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, features_time)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (*key, MODEL, HORIZON, predicted, time),
    )
    print(f"{time} {options.symbol} {price:.2f} -> {predicted:.2f} in {HORIZON} min", flush=True)
    made += 1
    if made == options.rows:
        break

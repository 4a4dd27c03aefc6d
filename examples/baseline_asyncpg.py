"""A naive model on asyncpg: one connection listens, asks and writes.

It expects a tenth of the last 15 minutes' return to come back within the next 15 minutes.

    DB_PASSWORD=... python examples/baseline_asyncpg.py --symbol BTCUSDT --rows 3
"""

import argparse
import asyncio
import json
import math
import os
from datetime import datetime, timedelta

import asyncpg

MODEL, HORIZON, REVERSION = "baseline-asyncpg", 15, -0.1

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--symbol", default="BTCUSDT")
arguments.add_argument("--rows", type=int, default=0, help="stop after so many predictions; 0: never")


async def predict(connection, symbol, time):
    """Write the prediction of one instant, and return whether there was one to make."""
    features = json.loads(
        await connection.fetchval(
            "SELECT features_json FROM feature_cache WHERE symbol = $1 AND time = $2", symbol, time
        )
    )
    # A feature row's time is the close of its last candle; that candle opened a minute earlier.
    price = await connection.fetchval(
        "SELECT close FROM candles_1m WHERE symbol = $1 AND time = $2", symbol, time - timedelta(minutes=1)
    )
    if features["return_15m"] is None:
        return False  # not defined: too little history, or a minute is missing
    predicted = price * math.exp(REVERSION * features["return_15m"])
    await connection.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, features_time)"
        " VALUES ($1, $2, $3, $4, $5, $2) ON CONFLICT DO NOTHING",
        symbol, time, MODEL, HORIZON, predicted,
    )  # fmt: skip
    print(f"{time:%H:%M} {symbol} {price:.2f} -> {predicted:.2f} in {HORIZON} min", flush=True)
    return True


async def main(options):
    """Predict at every new row."""
    connection = await asyncpg.connect(
        host=os.environ.get("DB_HOST", "127.0.0.1"),
        port=int(os.environ.get("DB_PORT", "5432")),
        database=os.environ.get("DB_NAME", "btc_ml_production"),
        user=os.environ.get("DB_USER", "mlreader"),
        password=os.environ.get("DB_PASSWORD", ""),
    )
    symbols = [symbol for (symbol,) in await connection.fetch("SELECT symbol FROM symbols ORDER BY symbol")]
    if options.symbol not in symbols:
        raise SystemExit(
            f"there is no symbol {options.symbol} here, only: {', '.join(symbols) or 'none yet'}"
        )
    heard = asyncio.Queue()
    connection.add_termination_listener(lambda _: heard.put_nowait(None))
    await connection.add_listener("features", lambda *message: heard.put_nowait(json.loads(message[-1])))
    print(f"waiting for rows of {options.symbol}", flush=True)
    made = 0
    while row := await heard.get():  # None: the connection is gone
        if row["symbol"] == options.symbol:
            made += await predict(connection, options.symbol, datetime.fromisoformat(row["time"]))
            if made == options.rows > 0:
                return await connection.close()
    raise SystemExit("the connection to the database is gone")


if __name__ == "__main__":
    asyncio.run(main(arguments.parse_args()))

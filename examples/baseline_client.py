"""A naive model on marketdata.client, which reconnects by itself and loses no row.

It expects a tenth of the last 15 minutes' return to come back within the next 15 minutes.

    DB_PASSWORD=... PYTHONPATH=shared python examples/baseline_client.py --symbols BTCUSDT ETHUSDT --rows 3
"""

import argparse
import math
from datetime import timedelta

from marketdata.client import Client

MODEL, HORIZON, REVERSION = "baseline-client", 15, -0.1

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="which; all without it")
arguments.add_argument("--rows", type=int, default=0, help="stop after so many predictions; 0: never")
options = arguments.parse_args()

made = 0
with Client() as client, client.subscribe(options.symbols) as rows:
    print("waiting for rows", flush=True)
    for row in rows:
        change = row.features["return_15m"]
        if change is None:
            continue  # not defined: too little history, or a minute is missing
        # A feature row's time is the close of its last candle.
        candle = client.candles(row.symbol, row.time - timedelta(minutes=1), row.time)
        price = candle.to_numpy()[-1, candle.names.index("close")]
        predicted = price * math.exp(REVERSION * change)
        client.predict(row.symbol, row.time, MODEL, HORIZON, predicted, features_time=row.time)
        print(f"{row.time:%H:%M} {row.symbol} {price:.2f} -> {predicted:.2f} in {HORIZON} min", flush=True)
        made += 1
        if made == options.rows:
            break

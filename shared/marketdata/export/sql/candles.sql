-- Fixed width in COPY's binary form, and in the order of source.CANDLE: no column may be null.
SELECT time, open, high, low, close, volume, quote_volume, trades::float8, taker_buy_volume, taker_buy_quote_volume,
       known_at
FROM candles_1m
WHERE symbol = $1 AND time >= $2 AND time < $3

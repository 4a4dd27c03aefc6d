SELECT (extract(epoch FROM time) * 1000)::float8 AS time, open, high, low, close, volume, quote_volume,
       trades::float8, taker_buy_volume, taker_buy_quote_volume
FROM candles_1m
WHERE symbol = $1 AND time >= $2 AND time < $3

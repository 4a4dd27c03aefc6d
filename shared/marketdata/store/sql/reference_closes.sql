SELECT time, close
FROM candles_1m
WHERE symbol = $1 AND time >= $2::timestamptz AND time < $3::timestamptz

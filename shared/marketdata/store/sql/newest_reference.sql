-- The newest stored minute of $1 from $2 on.
SELECT max(time) FROM candles_1m WHERE symbol = $1 AND time >= $2::timestamptz

SELECT (extract(epoch FROM time) * 1000)::float8 AS time, spread_bps, imbalance
FROM book_ticker_1m
WHERE symbol = $1 AND time >= $2 AND time < $3

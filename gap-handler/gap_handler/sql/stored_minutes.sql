SELECT time FROM candles_1m WHERE symbol = $1 AND time >= $2 AND time < $3

SELECT time FROM feature_values WHERE symbol = $1 ORDER BY time LIMIT 1

UPDATE symbols SET first_kline = $2 WHERE symbol = $1 AND first_kline IS NULL

SELECT first_kline FROM symbols WHERE symbol = $1

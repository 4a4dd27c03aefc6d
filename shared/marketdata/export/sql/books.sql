-- Fixed width in COPY's binary form, and in the order of source.BOOK: no column may be null.
SELECT time, spread_bps, imbalance, known_at
FROM book_ticker_1m
WHERE symbol = $1 AND time >= $2 AND time < $3

-- Book minutes, as by copy_window_candles.
SELECT s.place, b.time,
       b.spread_bps, b.imbalance
FROM unnest($1::text[]) WITH ORDINALITY AS s (symbol, place),
     LATERAL (SELECT * FROM book_ticker_1m WHERE symbol = s.symbol AND time >= $2::timestamptz AND time < $3::timestamptz
              OFFSET 0) AS b

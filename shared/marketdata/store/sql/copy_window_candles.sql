-- The minutes [$2, $3) of the symbols $1, for a binary COPY: each row's symbol by its place in $1, from 1. OFFSET 0
-- keeps it one index scan a symbol.
SELECT s.place, c.time,
       c.open, c.high, c.low, c.close, c.volume, c.quote_volume, c.trades::float8, c.taker_buy_volume,
       c.taker_buy_quote_volume
FROM unnest($1::text[]) WITH ORDINALITY AS s (symbol, place),
     LATERAL (SELECT * FROM candles_1m WHERE symbol = s.symbol AND time >= $2::timestamptz AND time < $3::timestamptz
              OFFSET 0) AS c

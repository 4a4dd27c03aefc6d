-- The newest stored minute of each of the symbols $1 that has one.
SELECT s.symbol, c.time
FROM unnest($1::text[]) AS s (symbol),
     LATERAL (SELECT time FROM candles_1m WHERE symbol = s.symbol ORDER BY time DESC LIMIT 1) AS c

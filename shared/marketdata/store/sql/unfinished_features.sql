-- Stored candles newer than their symbol's newest feature row: a crash lay between the two commits. A
-- symbol whose candles all lie before the cache begins owes nothing. $1: of these symbols; null: of any.
INSERT INTO stale_features (symbol, from_time, to_time)
SELECT symbol, from_time, to_time
FROM (
    SELECT symbol,
           greatest(coalesce(newest_row, oldest) + interval '1 minute',
                    floor_minute(market_now() - interval '1 month')) AS from_time,
           newest + interval '2 minutes' AS to_time
    FROM symbols,
         LATERAL (SELECT time AS newest FROM candles_1m AS c WHERE c.symbol = symbols.symbol ORDER BY time DESC LIMIT 1) AS n,
         LATERAL (SELECT time AS oldest FROM candles_1m AS c WHERE c.symbol = symbols.symbol ORDER BY time LIMIT 1) AS o
         LEFT JOIN LATERAL (SELECT time AS newest_row FROM feature_values AS f
                            WHERE f.symbol = symbols.symbol ORDER BY time DESC LIMIT 1) AS r ON true
    WHERE ($1::text[] IS NULL OR symbol = ANY ($1::text[]))
      AND (newest_row IS NULL OR newest_row < newest + interval '1 minute')
) AS unfinished
WHERE from_time < to_time

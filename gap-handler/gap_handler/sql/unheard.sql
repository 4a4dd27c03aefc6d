-- Every symbol of which minutes are expected: whether a feeder has stored a candle of it since $1, and from where on
-- its minutes are owed, null where the minute that ended at $2 is stored.
WITH recent AS (
    SELECT symbol, max(time) AS newest, bool_or(source = 'stream') AS heard
    FROM candles_1m
    WHERE time >= $1::timestamptz
    GROUP BY symbol
)
SELECT symbol, coalesce(heard, false) AS heard,
       CASE WHEN newest + interval '1 minute' >= $2::timestamptz THEN NULL
            -- One by one, and of those alone that have nothing recent.
            ELSE coalesce(newest + interval '1 minute',
                          (SELECT time + interval '1 minute' FROM candles_1m AS c WHERE c.symbol = symbols.symbol
                           ORDER BY time DESC LIMIT 1),
                          lower(expected_range(symbol)))
       END AS owed_from
FROM symbols LEFT JOIN recent USING (symbol)
WHERE expected_until IS NULL
ORDER BY symbol

-- The stale ranges of the $1 symbols whose newest is first, as far as the cache reaches back. A range that begins after
-- stored candles without a row gets them too, as a mark that lasts: mark_unfinished looks behind the newest row
-- only, and once the range's own are written these are before it. $2: of these symbols; null: of any.
WITH taken AS (
    SELECT symbol, max(from_time) AS begins
    FROM stale_features
    WHERE symbol IN (SELECT symbol FROM stale_features WHERE $2::text[] IS NULL OR symbol = ANY ($2::text[])
                     GROUP BY symbol ORDER BY max(to_time) DESC, symbol LIMIT $1)
    GROUP BY symbol
), unfinished AS (
    INSERT INTO stale_features (symbol, from_time, to_time)
    SELECT symbol, c.time + interval '1 minute', begins
    FROM taken,
         LATERAL (SELECT time FROM feature_values AS f WHERE f.symbol = taken.symbol ORDER BY time DESC LIMIT 1) AS r,
         LATERAL (SELECT time FROM candles_1m AS c WHERE c.symbol = taken.symbol AND c.time >= r.time
                  ORDER BY time LIMIT 1) AS c
    WHERE c.time + interval '1 minute' < begins
      -- Marked by an earlier look whose work is not done yet.
      AND NOT EXISTS (SELECT FROM stale_features AS m
                      WHERE m.symbol = taken.symbol AND m.from_time <= c.time + interval '1 minute'
                        AND m.to_time >= begins)
    RETURNING id, symbol, from_time, to_time
)
SELECT id, symbol, greatest(from_time, floor_minute(market_now() - interval '1 month')) AS from_time, to_time
FROM (SELECT id, symbol, from_time, to_time FROM stale_features JOIN taken USING (symbol)
      UNION ALL SELECT * FROM unfinished) AS marks

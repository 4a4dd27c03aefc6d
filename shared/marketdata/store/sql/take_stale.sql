-- The stale ranges of the symbol whose newest is first, as far as the cache reaches back.
SELECT id, symbol, greatest(from_time, floor_minute(market_now() - interval '1 month')) AS from_time, to_time
FROM stale_features
WHERE symbol = (SELECT symbol FROM stale_features ORDER BY to_time DESC, symbol LIMIT 1)

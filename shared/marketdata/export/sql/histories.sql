-- What this database answers for: each symbol's first minute kept (its start or the retention edge, whatever
-- the exchange listed), the minutes expected of it, and the market's time.
SELECT symbol, floor_minute(greatest(history_start, market_now() - interval '13 months') + interval '59.999999 seconds')
           AS kept_from,
       lower(expected_range(symbol)) AS starts, upper(expected_range(symbol)) AS ends, market_now() AS now
FROM symbols

-- What a request for $1 is checked against; no row for an unknown symbol. Times before the earlier of
-- retention's edge and the history's start are not kept.
SELECT market_now() AS now, first_kline, expected_until,
       greatest(history_start, market_now() - interval '13 months') AS history
FROM symbols
WHERE symbol = $1

-- Book minutes are written before their candles. One that comes after its candle makes the feature
-- rows stale that were, or are just being, computed without it. $11 minutes of the longest window.
WITH written AS (
    INSERT INTO book_ticker_1m (symbol, time, bid, bid_size, ask, ask_size, spread_bps, imbalance, updates, known_at)
    SELECT symbol, to_timestamp(time / 1000.0), bid, bid_size, ask, ask_size, spread_bps, imbalance, updates,
           to_timestamp($10::bigint / 1000.0)
    FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
                $8::float8[], $9::bigint[])
         AS i (symbol, time, bid, bid_size, ask, ask_size, spread_bps, imbalance, updates)
    ON CONFLICT (symbol, time) DO NOTHING
    RETURNING symbol, time
)
INSERT INTO stale_features (symbol, from_time, to_time)
SELECT symbol, time + interval '1 minute', time + ($11::integer + 1) * interval '1 minute'
FROM written
WHERE EXISTS (SELECT FROM candles_1m AS c WHERE c.symbol = written.symbol AND c.time = written.time)

INSERT INTO book_ticker_1m (symbol, time, bid, bid_size, ask, ask_size, spread_bps, imbalance, updates, known_at)
SELECT symbol, to_timestamp(time / 1000.0), bid, bid_size, ask, ask_size, spread_bps, imbalance, updates,
       to_timestamp($10::bigint / 1000.0)
FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
            $8::float8[], $9::bigint[])
     AS i (symbol, time, bid, bid_size, ask, ask_size, spread_bps, imbalance, updates)
ON CONFLICT (symbol, time) DO NOTHING

-- Heads of one minute while they are news (insert_head.sql says when) and the clock is past their close: all of them
-- or, where that is not certain, none; without those that are stored already. Half of what insert_heads.sql takes.
-- $1-$10 columns but the time, $11 known_at (numbers as array literals), $12 the minute they share, $13 the oldest known_at.
INSERT INTO candles_1m (symbol, time, open, high, low, close, volume, quote_volume, trades,
                        taker_buy_volume, taker_buy_quote_volume, source, known_at)
SELECT i.symbol, $12::timestamptz, i.open, i.high, i.low, i.close, i.volume, i.quote_volume, i.trades,
       i.taker_buy_volume, i.taker_buy_quote_volume, 'stream', to_timestamp(i.known_at / 1000.0::float8)
FROM market_clock AS clock,
     unnest($1::text[], $2::text::float8[], $3::text::float8[], $4::text::float8[], $5::text::float8[],
            $6::text::float8[], $7::text::float8[], $8::text::bigint[], $9::text::float8[], $10::text::float8[],
            $11::text::bigint[])
         AS i (symbol, open, high, low, close, volume, quote_volume, trades,
               taker_buy_volume, taker_buy_quote_volume, known_at)
WHERE clock.time >= $12::timestamptz + interval '1 minute'
  AND clock.time < $12::timestamptz + interval '65 seconds'
  AND clock.time <= $13::timestamptz
ON CONFLICT (symbol, time) DO NOTHING

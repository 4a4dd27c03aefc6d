-- One head while it is news: no exchange time after its own has been written, nor one more than 5 seconds after its
-- close, so that nothing later of its symbol is stored and no feature row can have been made without it. A later candle
-- would have set the market's clock to its own exchange time; or it was inserted here, with the clock a minute
-- further. That time lies after the later candle's own minute, or, where trading was halted, in the midst of it.
-- Inserts nothing where that is not certain, and where the clock has still to come to this minute's close:
-- insert_heads moves it on, and upsert_candles is for all else.
-- $1-$11 columns, $12 known_at.
INSERT INTO candles_1m (symbol, time, open, high, low, close, volume, quote_volume, trades,
                        taker_buy_volume, taker_buy_quote_volume, source, known_at)
SELECT $1::text, $2::timestamptz, $3::float8, $4::float8, $5::float8, $6::float8, $7::float8,
       $8::float8, $9::bigint, $10::float8, $11::float8, 'stream', $12::timestamptz
FROM market_clock AS clock
WHERE clock.time >= $2::timestamptz + interval '1 minute'
  AND clock.time < $2::timestamptz + interval '65 seconds'
  AND clock.time <= $12::timestamptz
ON CONFLICT (symbol, time) DO NOTHING

-- Heads while they are news (insert_head.sql says when): all of them or, where that is not certain, none.
-- $1-$11 columns, $12 known_at (numbers as array literals), $13 the oldest time, $14 the newest, $15 the oldest
-- known_at, $16 the newest, $17 the symbol that all others are compared with, $18 how many minutes far.
WITH news AS MATERIALIZED (
    SELECT FROM market_clock
    WHERE time <= $15::timestamptz
      AND time < $13::timestamptz + interval '65 seconds'
), written AS (
    INSERT INTO candles_1m (symbol, time, open, high, low, close, volume, quote_volume, trades,
                            taker_buy_volume, taker_buy_quote_volume, source, known_at)
    SELECT symbol, to_timestamp(time / 1000.0::float8), open, high, low, close, volume, quote_volume, trades,
           taker_buy_volume, taker_buy_quote_volume, 'stream', to_timestamp(known_at / 1000.0::float8)
    FROM unnest($1::text[], $2::text::bigint[], $3::text::float8[], $4::text::float8[], $5::text::float8[],
                $6::text::float8[], $7::text::float8[], $8::text::float8[], $9::text::bigint[],
                $10::text::float8[], $11::text::float8[], $12::text::bigint[])
         AS i (symbol, time, open, high, low, close, volume, quote_volume, trades,
               taker_buy_volume, taker_buy_quote_volume, known_at)
    WHERE EXISTS (SELECT FROM news)
    ON CONFLICT (symbol, time) DO NOTHING
    RETURNING symbol, time
), beside AS (
    -- Called where the reference is among what was written: by a function, which sees what is committed by then.
    SELECT mark_beside($17, first, last + interval '1 minute', $18::integer, true)
    FROM (SELECT min(time) AS first, max(time) AS last FROM written WHERE symbol = $17::text) AS reference
    WHERE first IS NOT NULL
), clock AS (
    -- Once a minute: the row is not locked for every candle of it. And for the reference's: rows that another process
    -- computes with it take their known_at from here.
    UPDATE market_clock SET time = $16::timestamptz
    WHERE (time < $14::timestamptz + interval '1 minute' OR EXISTS (SELECT FROM written WHERE symbol = $17::text))
      AND time < $16::timestamptz
      AND EXISTS (SELECT FROM news)
)
SELECT count(*), (SELECT count(*) FROM beside) AS beside FROM written

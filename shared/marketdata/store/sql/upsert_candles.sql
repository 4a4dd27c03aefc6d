-- Candles that cannot lie in the columnstore yet: straight to ON CONFLICT.
-- $1-$11 columns, $12 known_at (ms), $13 source, $14 head: no feature row can have been made without
-- them, $15 minutes of the longest feature window, $16 the symbol that all others are compared with, $17 how
-- many minutes far.
WITH written AS (
    INSERT INTO candles_1m AS c (symbol, time, open, high, low, close, volume, quote_volume, trades,
                                 taker_buy_volume, taker_buy_quote_volume, source, known_at)
    SELECT symbol, to_timestamp(time / 1000.0), open, high, low, close, volume, quote_volume, trades,
           taker_buy_volume, taker_buy_quote_volume, $13, to_timestamp(known_at / 1000.0)
    FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
                $8::float8[], $9::bigint[], $10::float8[], $11::float8[], $12::bigint[])
         AS i (symbol, time, open, high, low, close, volume, quote_volume, trades,
               taker_buy_volume, taker_buy_quote_volume, known_at)
    ON CONFLICT (symbol, time) DO UPDATE SET
        open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
        volume = EXCLUDED.volume, quote_volume = EXCLUDED.quote_volume, trades = EXCLUDED.trades,
        taker_buy_volume = EXCLUDED.taker_buy_volume, taker_buy_quote_volume = EXCLUDED.taker_buy_quote_volume,
        source = EXCLUDED.source, known_at = EXCLUDED.known_at
    WHERE (c.source = 'stream' OR EXCLUDED.source <> 'stream')
      AND (c.open, c.high, c.low, c.close, c.volume, c.quote_volume, c.trades, c.taker_buy_volume,
           c.taker_buy_quote_volume)
          IS DISTINCT FROM
          (EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.volume, EXCLUDED.quote_volume,
           EXCLUDED.trades, EXCLUDED.taker_buy_volume, EXCLUDED.taker_buy_quote_volume)
    RETURNING symbol, time, xmax = 0 AS inserted
), stale AS (
    INSERT INTO stale_features (symbol, from_time, to_time)
    -- An outage is flat at the close before it, so a candle in front of one, or in it, reaches past its end.
    SELECT symbol, min(time) + interval '1 minute',
           flat_until(symbol, min(time), max(time) + interval '1 minute') + $15::integer * interval '1 minute'
    FROM written
    WHERE NOT inserted OR NOT $14::boolean
       -- A repair was quicker than the stream's own backlog: rows may have been computed without this one.
       -- Asked for all first: in the stream's own order nothing later is stored.
       OR time < (SELECT max(time) FROM candles_1m)
          AND EXISTS (SELECT FROM candles_1m AS later WHERE later.symbol = written.symbol AND later.time > written.time)
    GROUP BY symbol
), beside AS (
    -- Called where the reference is among what was written: by a function, which sees what is committed by then.
    SELECT mark_beside($16, first, last + interval '1 minute', $17::integer, head)
    FROM (SELECT min(time) AS first, max(time) AS last, bool_and(inserted AND $14::boolean) AS head
          FROM written WHERE symbol = $16::text) AS reference
    WHERE first IS NOT NULL
), clock AS (
    INSERT INTO market_clock (time)
    -- Asked first: ON CONFLICT would lock the row even where it changes nothing.
    SELECT newest FROM (SELECT to_timestamp(max(known_at) / 1000.0) AS newest FROM unnest($12::bigint[]) AS known_at) AS k
    WHERE newest > coalesce((SELECT time FROM market_clock), '-infinity')
    ON CONFLICT (single) DO UPDATE SET time = EXCLUDED.time WHERE market_clock.time < EXCLUDED.time
)
SELECT count(*) FILTER (WHERE inserted) AS inserted, count(*) FILTER (WHERE NOT inserted) AS changed,
       (SELECT count(*) FROM beside) AS beside
FROM written

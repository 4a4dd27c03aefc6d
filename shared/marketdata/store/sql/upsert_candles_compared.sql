-- Candles that may lie in the columnstore, and all that do not come from the stream, out of staged_candles:
-- compared first, so that only the differing ones reach ON CONFLICT (an unchanged duplicate would decompress
-- its whole segment), and what they replace is kept in the ledger.
-- $1 symbols, $2 and $3 first and last time (ms), $4 source, $5 head: no feature row can have been made
-- without them, $6 minutes of the longest feature window, $7 known_at (ms) of the newest,
-- $8 the symbol that all others are compared with, $9 how many minutes far.
WITH incoming AS (
    SELECT symbol, to_timestamp(time / 1000.0::float8) AS time, open, high, low, close, volume, quote_volume, trades,
           taker_buy_volume, taker_buy_quote_volume, to_timestamp(known_at / 1000.0::float8) AS known_at
    FROM staged_candles
), stored AS (
    SELECT symbol, time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,
           taker_buy_quote_volume, source
    FROM candles_1m
    WHERE symbol = ANY ($1::text[])
      AND time BETWEEN to_timestamp($2::bigint / 1000.0) AND to_timestamp($3::bigint / 1000.0)
), written AS (
    INSERT INTO candles_1m AS c (symbol, time, open, high, low, close, volume, quote_volume, trades,
                                 taker_buy_volume, taker_buy_quote_volume, source, known_at)
    SELECT i.symbol, i.time, i.open, i.high, i.low, i.close, i.volume, i.quote_volume, i.trades,
           i.taker_buy_volume, i.taker_buy_quote_volume, $4, i.known_at
    FROM incoming AS i LEFT JOIN stored AS s USING (symbol, time)
    WHERE s.symbol IS NULL
       OR (s.source = 'stream' OR $4 <> 'stream')
      AND (s.open, s.high, s.low, s.close, s.volume, s.quote_volume, s.trades, s.taker_buy_volume,
           s.taker_buy_quote_volume)
          IS DISTINCT FROM
          (i.open, i.high, i.low, i.close, i.volume, i.quote_volume, i.trades, i.taker_buy_volume,
           i.taker_buy_quote_volume)
    -- In order, so that two writers of the same minutes wait for each other instead of forever.
    ORDER BY i.symbol, i.time
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
    SELECT * FROM (
        -- An outage is flat at the close before it, so a candle in front of one, or in it, reaches past its end.
        SELECT symbol, min(time) + interval '1 minute',
               flat_until(symbol, min(time), max(time) + interval '1 minute') + $6::integer * interval '1 minute' AS to_time
        FROM written
        WHERE NOT inserted OR NOT $5::boolean
           -- A repair was quicker than the stream's own backlog: rows may have been computed without this one.
           -- Asked for all first: in the stream's own order nothing later is stored.
           OR time < (SELECT max(time) FROM candles_1m)
              AND EXISTS (SELECT FROM candles_1m AS later
                          WHERE later.symbol = written.symbol AND later.time > written.time)
        GROUP BY symbol
    ) AS reached
    -- Feature rows are kept for a month: years of history make none stale.
    WHERE to_time > coalesce((SELECT least(time, now()) FROM market_clock), '-infinity') - interval '1 month'
), beside AS (
    SELECT mark_beside($8, first, last + interval '1 minute', $9::integer, head)
    FROM (SELECT min(time) AS first, max(time) AS last, bool_and(inserted AND $5::boolean) AS head
          FROM written WHERE symbol = $8::text) AS reference
    WHERE first IS NOT NULL
), revisions AS (
    -- What was stored and is corrected stays readable.
    INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, resolved, resolved_at, detail)
    SELECT 'revision', s.symbol, s.time, s.time + interval '1 minute', true, now(),
           jsonb_build_object('old', to_jsonb(s) - 'symbol' - 'time', 'source', $4)
    FROM stored AS s JOIN written AS w USING (symbol, time)
    WHERE NOT w.inserted
), clock AS (
    INSERT INTO market_clock (time)
    -- Asked first: ON CONFLICT would lock the row even where it changes nothing.
    SELECT newest FROM (SELECT to_timestamp($7::bigint / 1000.0) AS newest) AS k
    WHERE newest > coalesce((SELECT time FROM market_clock), '-infinity')
    ON CONFLICT (single) DO UPDATE SET time = EXCLUDED.time WHERE market_clock.time < EXCLUDED.time
)
SELECT count(*) FILTER (WHERE inserted) AS inserted, count(*) FILTER (WHERE NOT inserted) AS changed,
       (SELECT count(*) FROM beside) AS beside
FROM written

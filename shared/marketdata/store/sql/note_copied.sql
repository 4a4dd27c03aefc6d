-- What follows from minutes that this transaction has copied in: the feature rows they reach are stale, and the
-- market's clock is at least where it was when they came.
-- $1 symbol, $2 and $3 first and last time (ms), $4 minutes of the longest feature window, $5 known_at (ms),
-- $6 the symbol that all others are compared with, $7 how many minutes far.
WITH span AS (
    SELECT to_timestamp($2::bigint / 1000.0) AS first,
           to_timestamp($3::bigint / 1000.0) + interval '1 minute' AS past
), stale AS (
    INSERT INTO stale_features (symbol, from_time, to_time)
    SELECT $1::text, first + interval '1 minute', reach
    -- An outage is flat at the close before it, so a candle in front of one, or in it, reaches past its end.
    FROM span, LATERAL (SELECT flat_until($1, first, past) + $4::integer * interval '1 minute' AS reach) AS reached
    -- Feature rows are kept for a month: years of history make none stale.
    WHERE reach > coalesce((SELECT least(time, now()) FROM market_clock), '-infinity') - interval '1 month'
), clock AS (
    INSERT INTO market_clock (time)
    -- Asked first: ON CONFLICT would lock the row even where it changes nothing.
    SELECT newest FROM (SELECT to_timestamp($5::bigint / 1000.0) AS newest) AS k
    WHERE newest > coalesce((SELECT time FROM market_clock), '-infinity')
    ON CONFLICT (single) DO UPDATE SET time = EXCLUDED.time WHERE market_clock.time < EXCLUDED.time
)
SELECT mark_beside($6, first, past, $7::integer) FROM span WHERE $1 = $6::text

-- Feature rows: $1 symbol, $2 instants (ms), $3 values as array literals (NULL: not defined), $4 version,
-- $5 window_coverage, $6 exchange time (ms) in hand, $7 minutes of the longest window. A symbol's newest row is told of
-- on the channel 'features', in the same transaction:
-- {"symbol": "BTCUSDT", "time": "2026-11-21T12:05:00Z"}.
WITH written AS (
    INSERT INTO feature_values (symbol, time, feature_version, values, window_coverage, known_at)
    SELECT symbol, to_timestamp(instant / 1000.0), $4::integer, numbers::float8[],
           -- No earlier than the candles in it became known: the database may have been told by another service.
           coverage, (SELECT greatest(to_timestamp($6::bigint / 1000.0), max(time)) FROM market_clock)
    FROM unnest($1::text[], $2::bigint[], $3::text[], $5::float8[]) AS i (symbol, instant, numbers, coverage)
    ON CONFLICT (symbol, time) DO NOTHING
    RETURNING symbol, time
), newest AS (
    SELECT symbol, min(time) AS first, max(time) AS time
    FROM written
    GROUP BY symbol
), stale AS (
    -- Rows behind a new one: whoever computed them did not see its candle, unless it was committed in between. The
    -- candle's own writer marks them where it sees the later candle, which may have been committed beside it.
    INSERT INTO stale_features (symbol, from_time, to_time)
    SELECT symbol, first + interval '1 minute', first + $7::integer * interval '1 minute'
    FROM newest
    WHERE first < (SELECT max(time) FROM feature_values)
      AND EXISTS (SELECT FROM feature_values AS later WHERE later.symbol = newest.symbol AND later.time > newest.first)
), told AS (
    SELECT pg_notify('features', format('{"symbol": %s, "time": "%s"}', to_json(symbol),
                                        to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
    FROM newest
    -- Asked for all first: the minute's first rows are newer than every row.
    WHERE time > coalesce((SELECT max(time) FROM feature_values), '-infinity')
       OR NOT EXISTS (SELECT FROM feature_values AS later WHERE later.symbol = newest.symbol AND later.time > newest.time)
)
SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM told) AS told

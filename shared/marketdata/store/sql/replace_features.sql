-- Feature rows computed again: $1 symbol, $2 instants (ms), $3 values as array literals (NULL: not defined), $4 version,
-- $5 window_coverage, $6 exchange time (ms) in hand. Told of as by insert_features where a row is new and its symbol's
-- newest.
WITH written AS (
    INSERT INTO feature_values (symbol, time, feature_version, values, window_coverage, known_at)
    SELECT symbol, to_timestamp(instant / 1000.0), $4::integer, numbers::float8[],
           coverage, (SELECT greatest(to_timestamp($6::bigint / 1000.0), max(time)) FROM market_clock)
    FROM unnest($1::text[], $2::bigint[], $3::text[], $5::float8[]) AS i (symbol, instant, numbers, coverage)
    ON CONFLICT (symbol, time) DO UPDATE SET
        feature_version = EXCLUDED.feature_version, values = EXCLUDED.values,
        window_coverage = EXCLUDED.window_coverage, known_at = EXCLUDED.known_at
    WHERE (feature_values.feature_version, feature_values.values, feature_values.window_coverage)
          IS DISTINCT FROM (EXCLUDED.feature_version, EXCLUDED.values, EXCLUDED.window_coverage)
    RETURNING symbol, time, xmax = 0 AS inserted
), told AS (
    SELECT pg_notify('features', format('{"symbol": %s, "time": "%s"}', to_json(symbol),
                                        to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
    FROM (SELECT symbol, max(time) AS time FROM written WHERE inserted GROUP BY symbol) AS newest
    WHERE NOT EXISTS (SELECT FROM feature_values AS later WHERE later.symbol = newest.symbol AND later.time > newest.time)
)
SELECT (SELECT count(*) FROM written) AS written, (SELECT count(*) FROM told) AS told

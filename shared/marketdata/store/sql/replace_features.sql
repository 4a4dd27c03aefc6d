-- Feature rows computed again, from one flat array: $1 symbol, $2 instants (ms), $3 values (NaN: not defined) row by
-- row, $4 features a row, $5 version, $6 window_coverage, $7 exchange time (ms) in hand. Told of as by insert_features
-- where a row is new and its symbol's newest.
WITH written AS (
    INSERT INTO feature_values (symbol, time, feature_version, values, window_coverage, known_at)
    SELECT symbol, to_timestamp(instant / 1000.0), $5::integer,
           array_replace(($3::float8[])[(row - 1) * $4::integer + 1 : row * $4::integer], 'NaN'::float8, NULL),
           coverage, (SELECT greatest(to_timestamp($7::bigint / 1000.0), max(time)) FROM market_clock)
    FROM unnest($1::text[], $2::bigint[], $6::float8[]) WITH ORDINALITY AS i (symbol, instant, coverage, row)
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

-- The row of $1 at $2, or the newest where $2 is null.
SELECT v.symbol, v.time, s.names, v.values, v.window_coverage, v.known_at, v.feature_version
FROM feature_values AS v JOIN feature_sets AS s ON s.version = v.feature_version
WHERE v.symbol = $1 AND v.time = coalesce($2, (SELECT max(time) FROM feature_values WHERE symbol = $1))

-- Up to $3 rows: those after the instant $2 of each symbol of $1, the earliest first.
SELECT v.symbol, v.time, s.names, v.values, v.window_coverage, v.known_at, v.feature_version
FROM unnest($1::text[], $2::timestamptz[]) AS c (symbol, after)
CROSS JOIN LATERAL (SELECT * FROM feature_values AS f
                    WHERE f.symbol = c.symbol AND f.time > c.after ORDER BY f.time LIMIT $3) AS v
JOIN feature_sets AS s ON s.version = v.feature_version
ORDER BY v.time, v.symbol
LIMIT $3

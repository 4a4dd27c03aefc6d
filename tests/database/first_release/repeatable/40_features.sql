-- What models read.

-- features_json is text on purpose: json.loads(row[0]) works with every driver.
CREATE OR REPLACE VIEW feature_cache AS
SELECT v.symbol, v.time,
       (SELECT json_object_agg(item.name, item.value ORDER BY item.position)
        FROM unnest(s.names, v.values) WITH ORDINALITY AS item (name, value, position))::text AS features_json,
       v.feature_version, v.window_coverage, v.known_at
FROM feature_values AS v JOIN feature_sets AS s ON s.version = v.feature_version;
COMMENT ON VIEW feature_cache IS 'One row a symbol and minute, features by name as JSON text; null where a value is not defined.';
COMMENT ON COLUMN feature_cache.time IS 'The instant from which the row may be used: the close of the last candle it saw.';

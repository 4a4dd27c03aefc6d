-- What models read.

-- features_json is text on purpose: json.loads(row[0]) works with every driver. It is a template of the names,
-- which are column names too and need no escaping, with the numbers put in: a third of the time of
-- json_object_agg. JSON has no NaN and no Infinity; a row shorter than its set is null in what it lacks.
CREATE OR REPLACE VIEW feature_cache AS
SELECT v.symbol, v.time,
       (SELECT format('{"' || array_to_string(s.names, '": %s, "') || '": %s}', VARIADIC array_replace((
                   array_replace(array_replace(array_replace(v.values, 'NaN', NULL), 'Infinity', NULL), '-Infinity', NULL)
                   || array_fill(NULL::double precision, ARRAY[greatest(cardinality(s.names) - cardinality(v.values), 0)])
               )::text[], NULL, 'null'))
        FROM feature_sets AS s WHERE s.version = v.feature_version) AS features_json,
       v.feature_version, v.window_coverage, v.known_at
FROM feature_values AS v;
COMMENT ON VIEW feature_cache IS 'One row a symbol and minute, features by name as JSON text; null where a value is not defined.';
COMMENT ON COLUMN feature_cache.time IS 'The instant from which the row may be used: the close of the last candle it saw.';

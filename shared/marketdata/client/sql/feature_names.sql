-- The features this database has, in the order of their columns, with what it says of each.
SELECT attname AS name, coalesce(col_description(attrelid, attnum), '') AS description
FROM pg_attribute
WHERE attrelid = 'feature_matrix'::regclass AND attnum > 0 AND NOT attisdropped
  AND atttypid = 'float8'::regtype AND attname <> 'window_coverage'
ORDER BY attnum

-- The tables that can be restored by themselves.

SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
  AND relname NOT IN ('schema_migrations', 'platform_state', 'feature_sets') AND relname NOT LIKE '%\_restored'
ORDER BY relname;

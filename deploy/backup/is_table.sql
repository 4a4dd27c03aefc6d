-- Whether one of them has this name (see tables.sql).

SELECT EXISTS (
    SELECT FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname = :'name'
      AND relname NOT IN ('schema_migrations', 'platform_state', 'feature_sets') AND relname NOT LIKE '%\_restored'
);

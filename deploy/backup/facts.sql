-- What a restore has to know of the database that was dumped, as lines of the manifest.

SELECT 'database=' || current_database();
SELECT 'postgres=' || current_setting('server_version_num')::integer / 10000;
SELECT 'timescaledb=' || coalesce((SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), '');
SELECT 'server_kind=' || server_kind();
SELECT 'schema=' || max(name) FROM schema_migrations;
SELECT 'candles=' || count(*) FROM candles_1m;
SELECT 'newest=' || coalesce(to_char(max(time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'), '') FROM candles_1m;

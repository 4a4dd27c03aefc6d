-- Whether this server can create TimescaleDB in the version the backup was made with.

SELECT EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'timescaledb' AND version = :'version');

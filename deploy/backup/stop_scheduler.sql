-- TimescaleDB's scheduler keeps a connection, and a database in use cannot be renamed.

SELECT _timescaledb_functions.stop_background_workers();

-- The restored database takes the name of the one in use. Both renames or none.

SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (:'database', :'side');
BEGIN;
ALTER DATABASE :"database" RENAME TO :"former";
ALTER DATABASE :"side" RENAME TO :"database";
COMMIT;

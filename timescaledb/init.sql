-- What the database's container runs once, at its first start: the extension and the roles.
-- Everything else is the migrations' (timescaledb/migrations).

CREATE EXTENSION IF NOT EXISTS timescaledb;

-- The models' role. It has no password, so it cannot log in over TCP, until `migrate` sets one.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mlreader') THEN
        CREATE ROLE mlreader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
END
$$;

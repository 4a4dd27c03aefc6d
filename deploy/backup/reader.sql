-- The dump grants rights to the models' role, so it has to exist. It cannot log in until `migrate` says so.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mlreader') THEN
        CREATE ROLE mlreader NOSUPERUSER NOCREATEDB NOCREATEROLE;
    END IF;
END
$$;

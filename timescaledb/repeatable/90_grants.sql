-- The models' role reads everything and inserts predictions, nothing else. What a server computes
-- (created_at, actual, error) is not the model's to write.

DO $$
DECLARE
    verb regprocedure;
BEGIN
    -- Whatever writes is volatile. The extensions' functions, which live here too, are not ours to close.
    FOR verb IN
        SELECT p.oid FROM pg_proc AS p
        WHERE p.pronamespace = 'public'::regnamespace AND p.provolatile = 'v'
          AND p.proowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', verb);
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mlreader') THEN
        RETURN;
    END IF;
    EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO mlreader', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), current_user);
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO mlreader;
    REVOKE ALL ON ALL TABLES IN SCHEMA public FROM mlreader;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO mlreader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO mlreader;
    GRANT INSERT (symbol, time, model, horizon_minutes, predicted, confidence, features_time)
        ON predictions TO mlreader;
END
$$;

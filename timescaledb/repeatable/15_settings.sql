-- What every new session of this database starts with.

DO $$
BEGIN
    IF NOT (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()) THEN
        RAISE NOTICE 'the settings of % are its owner''s to make (15_settings.sql): queries and storage do without',
            current_database();
        RETURN;
    END IF;
    -- As on any disk without a moving arm. At the default of 4 a day of one symbol among fifty is read through
    -- the index of the time, with every other symbol's rows: ten times as long as by the key.
    EXECUTE format('ALTER DATABASE %I SET random_page_cost = 1.1', current_database());
    -- A week of a symbol is four batches of the columnstore instead of eleven: less of what a batch's columns
    -- take in whole pieces of TOAST, 4% in all. Larger ones would save little more, and a corrected candle
    -- unpacks its whole batch.
    IF server_kind() = 'community' THEN
        EXECUTE format('ALTER DATABASE %I SET timescaledb.compression_batch_size_limit = 2520', current_database());
    END IF;
END
$$;

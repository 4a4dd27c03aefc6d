-- Policies and jobs of TimescaleDB's community edition. They follow the wall clock, so a database
-- that replays past days has none (migrate --no-policies).

DO $$
DECLARE
    wanted boolean := (SELECT policies FROM platform_state);
    target record;
    midnight timestamptz := date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
BEGIN
    IF server_kind() <> 'community' THEN
        RETURN;
    END IF;
    FOR target IN SELECT * FROM (VALUES
        ('candles_1m', interval '13 months', interval '7 days'),
        ('book_ticker_1m', interval '13 months', interval '7 days'),
        ('feature_values', interval '1 month', NULL),
        ('predictions', interval '3 months', NULL)) AS t (name, kept, row_form)
    LOOP
        IF wanted THEN
            PERFORM add_retention_policy(target.name, drop_after => target.kept, if_not_exists => true);
            IF target.row_form IS NOT NULL THEN
                CALL add_columnstore_policy(target.name, after => target.row_form, if_not_exists => true);
            END IF;
        ELSE
            PERFORM remove_retention_policy(target.name, if_exists => true);
            IF target.row_form IS NOT NULL THEN
                CALL remove_columnstore_policy(target.name, if_exists => true);
            END IF;
        END IF;
    END LOOP;
    -- 13 months back, so that a repair anywhere in the history reaches the aggregates.
    FOR target IN SELECT * FROM (VALUES
        ('candles_5m', interval '5 minutes'), ('candles_1h', interval '1 hour'),
        ('candles_4h', interval '4 hours'), ('candles_1d', interval '1 day')) AS t (name, width)
    LOOP
        IF wanted THEN
            PERFORM add_continuous_aggregate_policy(target.name, start_offset => interval '13 months',
                end_offset => target.width, schedule_interval => interval '5 minutes', if_not_exists => true);
        ELSE
            PERFORM remove_continuous_aggregate_policy(target.name, if_exists => true);
        END IF;
    END LOOP;
    FOR target IN SELECT * FROM (VALUES
        ('nightly_cleanup', interval '2 hours'), ('nightly_accuracy', interval '3 hours')) AS t (name, at)
    LOOP
        IF NOT wanted THEN
            PERFORM delete_job(job_id) FROM timescaledb_information.jobs
            WHERE proc_name = target.name AND proc_schema = current_schema();
        ELSIF NOT EXISTS (SELECT FROM timescaledb_information.jobs
                          WHERE proc_name = target.name AND proc_schema = current_schema()) THEN
            PERFORM add_job(target.name::regproc, interval '1 day',
                            initial_start => midnight + interval '1 day' + target.at,
                            fixed_schedule => true, timezone => 'UTC');
        END IF;
    END LOOP;
END
$$;

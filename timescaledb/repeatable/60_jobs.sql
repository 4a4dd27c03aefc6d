-- The nightly jobs. TimescaleDB's scheduler calls them with (job_id, config) where it can, the
-- gap-handler's where it can't. What is past is past by both clocks: neither a wrong wall clock nor one
-- absurd exchange time deletes anything.

-- Whole chunks where there are hypertables, rows elsewhere. The community edition has policies.
CREATE OR REPLACE PROCEDURE drop_before(p_table regclass, p_edge timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    IF p_edge IS NULL THEN
        RETURN;
    END IF;
    IF server_kind() = 'plain' THEN
        EXECUTE format('DELETE FROM %s WHERE time < $1', p_table) USING p_edge;
    ELSE
        PERFORM drop_chunks(p_table, older_than => p_edge);
    END IF;
END
$$;

-- No minute before p_edge is expected any more: open gaps and outages end there. What lies wholly before it
-- is closed as such; it leaves the ledger the next night, with all that is that old.
CREATE OR REPLACE PROCEDURE retire_ledger(p_edge timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    -- The first whole minute kept, as in expected_range.
    edge timestamptz := floor_minute(p_edge + interval '59.999999 seconds');
BEGIN
    IF edge IS NULL THEN
        RETURN;
    END IF;
    PERFORM lock_ledger(symbol) FROM (
        SELECT DISTINCT symbol FROM data_quality_logs
        WHERE gap_start < edge AND (event_type = 'outage' OR event_type = 'gap' AND NOT resolved) ORDER BY symbol
    ) AS concerned;
    UPDATE data_quality_logs
    SET resolved = true, resolved_at = now(), lease_until = NULL, lease_owner = NULL,
        detail = detail - 'waiting_for' || '{"closed": "retention"}'
    WHERE event_type IN ('gap', 'outage') AND NOT resolved AND gap_end <= edge;
    UPDATE data_quality_logs
    SET gap_start = edge, candles_missing = minutes_of(tstzrange(edge, gap_end))
    WHERE (event_type = 'outage' OR event_type = 'gap' AND NOT resolved) AND gap_start < edge AND gap_end > edge;
END
$$;

CREATE OR REPLACE PROCEDURE nightly_cleanup(job_id integer DEFAULT 0, config jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE
    today timestamptz := (SELECT least(time, now()) FROM market_clock);
BEGIN
    IF NOT (SELECT policies FROM platform_state) THEN
        RETURN;
    END IF;
    IF server_kind() <> 'community' THEN
        CALL drop_before('candles_1m', today - interval '13 months');
        CALL drop_before('book_ticker_1m', today - interval '13 months');
        CALL drop_before('feature_values', today - interval '1 month');
        CALL drop_before('predictions', today - interval '3 months');
    END IF;
    DELETE FROM stale_features WHERE to_time < today - interval '1 month';
    DELETE FROM data_quality_logs
    WHERE coalesce(gap_end, created_at) < today - interval '13 months'
      AND (resolved OR event_type NOT IN ('gap', 'outage'));
    CALL retire_ledger(today - interval '13 months');
END
$$;

-- Fill predictions.actual and .error from the candle that closes at the target, then roll up, by UTC days of
-- the decision. The last seven days are looked at every night, for candles are corrected at times; an older day
-- only while something in it is due: its target was reached late, or its candle came late.
CREATE OR REPLACE PROCEDURE nightly_accuracy(job_id integer DEFAULT 0, config jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE
    midnight constant timestamptz := '2000-01-01 00:00:00+00';
    one_day constant interval := '24 hours';
    heard constant timestamptz := market_now();
    recent constant timestamptz := date_bin(one_day, heard, midnight) - 7 * one_day;
    -- A day of which retention has taken a part keeps the figures it has.
    kept constant timestamptz := CASE WHEN (SELECT policies FROM platform_state)
        THEN date_bin(one_day, heard - interval '3 months', midnight) + one_day ELSE midnight END;
    today timestamptz;
    longest interval;
    changed bigint;
BEGIN
    FOR today IN
        SELECT day FROM generate_series(recent, heard, one_day) AS day
        UNION
        SELECT date_bin(one_day, p.time, midnight)
        FROM predictions AS p JOIN symbols AS s ON s.symbol = p.symbol
        WHERE p.actual IS NULL AND p.time >= kept AND p.time < recent
          AND p.time + p.horizon_minutes * interval '1 minute' <= heard
          AND p.created_at <= p.time + p.horizon_minutes * interval '1 minute'
        ORDER BY 1
    LOOP
        longest := (SELECT max(horizon_minutes) FROM predictions WHERE time >= today AND time < today + one_day)
                   * interval '1 minute';
        CONTINUE WHEN longest IS NULL;
        UPDATE predictions AS p SET actual = c.close, error = p.predicted - c.close
        FROM candles_1m AS c
        WHERE p.time >= today AND p.time < today + one_day AND p.time < heard
          AND p.time + p.horizon_minutes * interval '1 minute' <= heard
          AND p.created_at <= p.time + p.horizon_minutes * interval '1 minute'
          AND (p.actual IS NULL OR today >= recent)
          AND p.actual IS DISTINCT FROM c.close
          AND c.symbol = p.symbol
          AND c.time = floor_minute(p.time + p.horizon_minutes * interval '1 minute') - interval '1 minute'
          AND c.time >= today AND c.time < least(heard, today + one_day + longest);
        GET DIAGNOSTICS changed = ROW_COUNT;
        CONTINUE WHEN changed = 0 AND today < recent;
        INSERT INTO prediction_accuracy AS a (model, symbol, horizon_minutes, day, scored, hit_rate, mae, rmse, brier,
                                              baseline_mae, baseline_rmse)
        SELECT p.model, p.symbol, p.horizon_minutes, (today AT TIME ZONE 'UTC')::date, count(*),
               avg((hit.correct)::integer), avg(miss.size), sqrt(avg(miss.size ^ 2)),
               avg((p.confidence - (hit.correct)::integer) ^ 2),
               avg(abs(base.price - p.actual)), sqrt(avg((base.price - p.actual) ^ 2))
        FROM predictions AS p
        LEFT JOIN candles_1m AS b ON b.symbol = p.symbol AND b.time = floor_minute(p.time) - interval '1 minute'
         AND b.time >= today - interval '1 minute' AND b.time < today + one_day
        -- No candle closed at the decision, in an outage say: the price known is the last before it.
        CROSS JOIN LATERAL (
            SELECT coalesce(b.close, (
                SELECT close FROM candles_1m
                WHERE symbol = p.symbol AND time < floor_minute(p.time) AND time >= today - one_day
                ORDER BY time DESC LIMIT 1)) AS price OFFSET 0
        ) AS base
        CROSS JOIN LATERAL (SELECT sign(p.predicted - base.price) = sign(p.actual - base.price)) AS hit (correct)
        -- One model's absurd price must not stop the job for all: sums of squares of more than this overflow.
        CROSS JOIN LATERAL (SELECT least(abs(p.error), 1e70::double precision)) AS miss (size)
        WHERE p.time >= today AND p.time < today + one_day AND p.actual IS NOT NULL
        GROUP BY p.model, p.symbol, p.horizon_minutes
        ON CONFLICT (model, symbol, horizon_minutes, day) DO UPDATE SET
            scored = EXCLUDED.scored, hit_rate = EXCLUDED.hit_rate, mae = EXCLUDED.mae, rmse = EXCLUDED.rmse,
            brier = EXCLUDED.brier, baseline_mae = EXCLUDED.baseline_mae, baseline_rmse = EXCLUDED.baseline_rmse
        WHERE a IS DISTINCT FROM EXCLUDED;
    END LOOP;
END
$$;

INSERT INTO nightly_jobs (name, run_at, next_run)
SELECT name, run_at, (((now() AT TIME ZONE 'UTC')::date + run_at) AT TIME ZONE 'UTC')
       + CASE WHEN (now() AT TIME ZONE 'UTC')::time >= run_at THEN interval '24 hours' ELSE interval '0' END
FROM (VALUES ('nightly_cleanup', time '02:00'), ('nightly_accuracy', time '03:00')) AS jobs (name, run_at)
ON CONFLICT (name) DO NOTHING;

-- The fallback scheduler's question: which job is due here? Answered to one caller only.
CREATE OR REPLACE FUNCTION take_due_job() RETURNS text LANGUAGE sql AS $$
    UPDATE nightly_jobs AS j
    SET last_run = now(),
        next_run = (((now() AT TIME ZONE 'UTC')::date + j.run_at) AT TIME ZONE 'UTC')
                   + CASE WHEN (now() AT TIME ZONE 'UTC')::time >= j.run_at THEN interval '24 hours' ELSE interval '0' END
    FROM (SELECT name FROM nightly_jobs WHERE next_run <= now() AND server_kind() <> 'community'
          ORDER BY next_run LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
    WHERE j.name = due.name
    RETURNING j.name
$$;

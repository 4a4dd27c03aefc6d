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

-- Fill predictions.actual and .error from the candle that closes at the target, then roll up every
-- day touched. Candles are corrected at times, so the last days are compared again.
CREATE OR REPLACE PROCEDURE nightly_accuracy(job_id integer DEFAULT 0, config jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS scored_days (model text, symbol text, horizon_minutes integer, day date)
        ON COMMIT DROP;
    WITH targets AS (
        SELECT p.symbol, p.time, p.model, p.horizon_minutes, c.close
        FROM predictions AS p
        JOIN candles_1m AS c ON c.symbol = p.symbol
         AND c.time = floor_minute(p.time + p.horizon_minutes * interval '1 minute') - interval '1 minute'
        WHERE p.time + p.horizon_minutes * interval '1 minute' <= market_now()
          AND p.created_at <= p.time + p.horizon_minutes * interval '1 minute'
          AND (p.actual IS NULL OR p.time > market_now() - interval '7 days')
          AND p.actual IS DISTINCT FROM c.close
    ), scored AS (
        UPDATE predictions AS p SET actual = t.close, error = p.predicted - t.close
        FROM targets AS t
        WHERE (p.symbol, p.time, p.model, p.horizon_minutes) = (t.symbol, t.time, t.model, t.horizon_minutes)
        RETURNING p.model, p.symbol, p.horizon_minutes, (p.time AT TIME ZONE 'UTC')::date AS day
    )
    INSERT INTO scored_days SELECT DISTINCT * FROM scored;
    INSERT INTO prediction_accuracy AS a (model, symbol, horizon_minutes, day, scored, hit_rate, mae, rmse, brier,
                                          baseline_mae, baseline_rmse)
    SELECT d.model, d.symbol, d.horizon_minutes, d.day, count(*),
           avg((hit.correct)::integer), avg(abs(p.error)), sqrt(avg(p.error ^ 2)),
           avg((p.confidence - (hit.correct)::integer) ^ 2),
           avg(abs(b.close - p.actual)), sqrt(avg((b.close - p.actual) ^ 2))
    FROM scored_days AS d
    JOIN predictions AS p ON p.model = d.model AND p.symbol = d.symbol AND p.horizon_minutes = d.horizon_minutes
     AND p.time >= d.day::timestamp AT TIME ZONE 'UTC' AND p.time < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
     AND p.actual IS NOT NULL
    LEFT JOIN candles_1m AS b ON b.symbol = p.symbol AND b.time = floor_minute(p.time) - interval '1 minute'
    CROSS JOIN LATERAL (SELECT sign(p.predicted - b.close) = sign(p.actual - b.close)) AS hit (correct)
    GROUP BY d.model, d.symbol, d.horizon_minutes, d.day
    ON CONFLICT (model, symbol, horizon_minutes, day) DO UPDATE SET
        scored = EXCLUDED.scored, hit_rate = EXCLUDED.hit_rate, mae = EXCLUDED.mae, rmse = EXCLUDED.rmse,
        brier = EXCLUDED.brier, baseline_mae = EXCLUDED.baseline_mae, baseline_rmse = EXCLUDED.baseline_rmse;
    DROP TABLE scored_days;
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

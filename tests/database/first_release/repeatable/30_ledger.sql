-- The ledger's verbs. Each takes the symbol's advisory lock first, so that what it reads stays true
-- until it commits.

CREATE OR REPLACE FUNCTION lock_ledger(p_symbol text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('ledger:' || p_symbol, 0))
$$;

-- Open a gap for every minute of [p_from, p_to) that is neither stored nor in the ledger already. A hole
-- that continues an open gap makes that one longer: a symbol that halts for a day is one gap, not a thousand.
-- p_reopen also opens minutes of a confirmed outage: somebody asked for another look.
CREATE OR REPLACE FUNCTION record_missing(
    p_symbol text, p_from timestamptz, p_to timestamptz, p_cause text, p_reopen boolean DEFAULT false
) RETURNS TABLE (id bigint, gap_start timestamptz, gap_end timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    known tstzmultirange;
    hole tstzrange;
BEGIN
    PERFORM lock_ledger(p_symbol);
    SELECT coalesce(range_agg(tstzrange(l.gap_start, l.gap_end)), '{}') INTO known
    FROM data_quality_logs AS l
    WHERE l.symbol = p_symbol AND l.gap_start < p_to AND l.gap_end > p_from
      AND (l.event_type = 'gap' AND NOT l.resolved
           OR l.event_type = 'outage' AND NOT (p_reopen AND l.resolved));
    FOR hole IN SELECT unnest(missing_ranges(p_symbol, floor_minute(p_from), floor_minute(p_to)) - known) LOOP
        RETURN QUERY
        UPDATE data_quality_logs AS l
        SET gap_end = upper(hole), candles_missing = l.candles_missing + minutes_of(hole)
        WHERE l.symbol = p_symbol AND l.event_type = 'gap' AND NOT l.resolved AND l.gap_end = lower(hole)
        RETURNING l.id, lower(hole), upper(hole);
        CONTINUE WHEN FOUND;
        RETURN QUERY
        INSERT INTO data_quality_logs AS l (event_type, symbol, gap_start, gap_end, candles_missing, detail)
        VALUES ('gap', p_symbol, lower(hole), upper(hole), minutes_of(hole), jsonb_build_object('cause', p_cause))
        RETURNING l.id, l.gap_start, l.gap_end;
    END LOOP;
END
$$;

-- Lease the newest open work: an outage whose second look is due, else a gap, of which at most
-- p_max_minutes are taken; the older rest stays open for other workers.
CREATE OR REPLACE FUNCTION claim_work(p_lease interval, p_max_minutes integer)
RETURNS SETOF data_quality_logs LANGUAGE plpgsql AS $$
DECLARE
    work data_quality_logs;
    cut timestamptz;
BEGIN
    SELECT * INTO work FROM data_quality_logs
    WHERE NOT resolved AND event_type IN ('gap', 'outage')
      AND (lease_until IS NULL OR lease_until < now())
      AND (next_look_at IS NULL OR next_look_at <= market_now())
    -- Gaps that keep waiting for the exchange let the others pass.
    ORDER BY event_type = 'outage' DESC, attempts > 3, gap_end DESC
    LIMIT 1
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    cut := work.gap_end - p_max_minutes * interval '1 minute';
    IF work.event_type = 'outage' OR cut <= work.gap_start THEN
        RETURN QUERY
        UPDATE data_quality_logs AS l SET lease_until = now() + p_lease, attempts = l.attempts + 1
        WHERE l.id = work.id RETURNING l.*;
    ELSE
        UPDATE data_quality_logs AS l
        SET gap_end = cut, candles_missing = minutes_of(tstzrange(l.gap_start, cut))
        WHERE l.id = work.id;
        RETURN QUERY
        INSERT INTO data_quality_logs AS l
            (created_at, event_type, symbol, gap_start, gap_end, candles_missing, attempts, lease_until, detail)
        VALUES (work.created_at, 'gap', work.symbol, cut, work.gap_end, p_max_minutes, 1, now() + p_lease,
                work.detail || jsonb_build_object('parent', coalesce(work.detail -> 'parent', to_jsonb(work.id))))
        RETURNING l.*;
    END IF;
END
$$;

-- Rows of [p_from, p_to)'s features are to be computed again, as far as the longest window reaches.
CREATE OR REPLACE FUNCTION mark_stale(p_symbol text, p_from timestamptz, p_to timestamptz, p_window integer)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO stale_features (symbol, from_time, to_time)
    VALUES (p_symbol, p_from + interval '1 minute', p_to + p_window * interval '1 minute')
$$;

-- The exchange has rows on both sides of [p_from, p_to) and none inside: a provisional outage, to be
-- looked at again p_confirm of market time later. It joins the provisional outages it touches.
CREATE OR REPLACE FUNCTION record_outage(
    p_symbol text, p_from timestamptz, p_to timestamptz, p_confirm interval, p_window integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    part tstzrange;
    whole tstzrange;
BEGIN
    PERFORM lock_ledger(p_symbol);
    FOR part IN
        SELECT unnest(missing_ranges(p_symbol, p_from, p_to) - coalesce(
            (SELECT range_agg(tstzrange(gap_start, gap_end)) FROM data_quality_logs
             WHERE symbol = p_symbol AND event_type = 'outage' AND resolved), '{}'))
    LOOP
        WITH touching AS (
            DELETE FROM data_quality_logs
            WHERE symbol = p_symbol AND event_type = 'outage' AND NOT resolved
              AND (tstzrange(gap_start, gap_end) && part OR tstzrange(gap_start, gap_end) -|- part)
            RETURNING tstzrange(gap_start, gap_end) AS span
        )
        SELECT range_merge(part, coalesce(range_merge(range_agg(span)), part)) INTO whole FROM touching;
        INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, candles_missing, next_look_at, detail)
        VALUES ('outage', p_symbol, lower(whole), upper(whole), minutes_of(whole), market_now() + p_confirm,
                '{"confirmed": false}');
        PERFORM mark_stale(p_symbol, lower(part), upper(part), p_window);
    END LOOP;
END
$$;

-- The second look is over: what is still missing is a confirmed outage (joined with the confirmed
-- ones it touches), what came back is a repaired gap.
CREATE OR REPLACE FUNCTION settle_outage(p_id bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    looked data_quality_logs;
    absent tstzmultirange;
    part tstzrange;
    whole tstzrange;
BEGIN
    PERFORM lock_ledger(symbol) FROM data_quality_logs WHERE id = p_id;
    SELECT * INTO looked FROM data_quality_logs WHERE id = p_id AND event_type = 'outage' AND NOT resolved;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    absent := missing_ranges(looked.symbol, looked.gap_start, looked.gap_end);
    DELETE FROM data_quality_logs WHERE id = p_id;
    FOR part IN
        SELECT unnest(tstzmultirange(tstzrange(looked.gap_start, looked.gap_end)) - absent)
    LOOP
        INSERT INTO data_quality_logs (created_at, event_type, symbol, gap_start, gap_end, candles_missing,
                                       candles_recovered, resolved, resolved_at, attempts, detail)
        VALUES (looked.created_at, 'gap', looked.symbol, lower(part), upper(part), minutes_of(part),
                minutes_of(part), true, now(), looked.attempts, '{"cause": "second look"}');
    END LOOP;
    FOR part IN SELECT unnest(absent) LOOP
        WITH touching AS (
            DELETE FROM data_quality_logs
            WHERE symbol = looked.symbol AND event_type = 'outage' AND resolved
              AND tstzrange(gap_start, gap_end) -|- part
            RETURNING tstzrange(gap_start, gap_end) AS span
        )
        SELECT range_merge(part, coalesce(range_merge(range_agg(span)), part)) INTO whole FROM touching;
        INSERT INTO data_quality_logs (created_at, event_type, symbol, gap_start, gap_end, candles_missing,
                                       resolved, resolved_at, attempts, detail)
        VALUES (looked.created_at, 'outage', looked.symbol, lower(whole), upper(whole), minutes_of(whole),
                true, now(), looked.attempts, '{"confirmed": true}');
    END LOOP;
END
$$;

-- A worker is done with a gap: it closes when every minute is stored or in an outage, else what is
-- left stays open and is tried again at p_retry (wall clock).
CREATE OR REPLACE FUNCTION settle_gap(p_id bigint, p_recovered integer, p_retry timestamptz, p_reason text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    looked data_quality_logs;
    absent tstzmultirange;
BEGIN
    PERFORM lock_ledger(symbol) FROM data_quality_logs WHERE id = p_id;
    SELECT * INTO looked FROM data_quality_logs WHERE id = p_id AND event_type = 'gap' AND NOT resolved;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    absent := missing_ranges(looked.symbol, looked.gap_start, looked.gap_end) - coalesce(
        (SELECT range_agg(tstzrange(gap_start, gap_end)) FROM data_quality_logs
         WHERE symbol = looked.symbol AND event_type = 'outage'), '{}');
    -- Minutes from before the first kline, or past the delisting, were never expected.
    absent := absent * coalesce(
        (SELECT tstzmultirange(tstzrange(first_kline, expected_until)) FROM symbols WHERE symbol = looked.symbol),
        '{(,)}'::tstzmultirange);
    UPDATE data_quality_logs
    SET candles_recovered = candles_recovered + p_recovered, lease_until = NULL,
        resolved = isempty(absent), resolved_at = CASE WHEN isempty(absent) THEN now() END
    WHERE id = p_id;
    IF NOT isempty(absent) THEN
        UPDATE data_quality_logs
        SET lease_until = p_retry, detail = detail || jsonb_build_object('waiting_for', p_reason)
        WHERE id = p_id;
    END IF;
    RETURN isempty(absent);
END
$$;

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

-- Where the newest piece of a gap begins. A gap of a day or more is cut by the calendar (UTC), as the
-- exchange's archives are: what reaches from yesterday's midnight to the live end (no archive has it yet), then
-- the rest of that month, then month by month. A shorter one is whole; no piece is longer than p_max_minutes.
CREATE OR REPLACE FUNCTION newest_piece(p_from timestamptz, p_to timestamptz, p_max_minutes integer)
RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT greatest(p_from, p_to - p_max_minutes * interval '1 minute',
                    CASE WHEN p_to - p_from < interval '1440 minutes' THEN p_from
                         WHEN p_to > yesterday THEN yesterday
                         ELSE date_trunc('month', p_to - interval '1 microsecond', 'UTC') END)
    FROM (SELECT date_trunc('day', market_now(), 'UTC') - interval '24 hours') AS days (yesterday)
$$;

-- The minutes of a symbol that anybody still has to find: none from before its first kline or the edge of
-- retention, none past its delisting.
CREATE OR REPLACE FUNCTION owed_minutes(p_symbol text) RETURNS tstzmultirange LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT tstzmultirange(CASE WHEN starts < ends OR starts IS NULL OR ends IS NULL
                                    THEN tstzrange(starts, ends) ELSE tstzrange('empty') END)
         FROM symbols, LATERAL (
             SELECT floor_minute(greatest(first_kline, market_now() - interval '13 months')
                                 + interval '59.999999 seconds') AS starts,
                    floor_minute(expected_until) AS ends
         ) AS edges
         WHERE symbol = p_symbol),
        '{(,)}'::tstzmultirange)
$$;

DROP FUNCTION IF EXISTS claim_work(interval, integer);
DROP FUNCTION IF EXISTS settle_outage(bigint);
DROP FUNCTION IF EXISTS settle_gap(bigint, integer, timestamptz, text);

-- Lease the newest open work to p_owner: an outage whose second look is due, else a gap, of which the
-- newest piece is taken; the older rest stays open for other workers.
CREATE OR REPLACE FUNCTION claim_work(p_lease interval, p_max_minutes integer, p_owner text)
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
    cut := newest_piece(work.gap_start, work.gap_end, p_max_minutes);
    IF work.event_type = 'outage' OR cut <= work.gap_start THEN
        RETURN QUERY
        UPDATE data_quality_logs AS l SET lease_until = now() + p_lease, lease_owner = p_owner, attempts = l.attempts + 1
        WHERE l.id = work.id RETURNING l.*;
    ELSE
        UPDATE data_quality_logs AS l
        SET gap_end = cut, candles_missing = minutes_of(tstzrange(l.gap_start, cut)),
            lease_until = NULL, lease_owner = NULL
        WHERE l.id = work.id;
        RETURN QUERY
        INSERT INTO data_quality_logs AS l
            (created_at, event_type, symbol, gap_start, gap_end, candles_missing, attempts, lease_until, lease_owner,
             detail)
        VALUES (work.created_at, 'gap', work.symbol, cut, work.gap_end,
                minutes_of(tstzrange(cut, work.gap_end)), 1, now() + p_lease, p_owner,
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

-- How far what happens in [p_from, p_to) is felt as a price: minutes of an outage are flat at the close before
-- it, so a change inside or in front of outages reaches to the end of the last one in the row.
CREATE OR REPLACE FUNCTION flat_until(p_symbol text, p_from timestamptz, p_to timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT greatest(p_to, max(upper(run)) FILTER (WHERE lower(run) <= p_to))
    FROM (SELECT unnest(range_agg(tstzrange(gap_start, gap_end))) AS run
          FROM data_quality_logs
          WHERE event_type = 'outage' AND symbol = p_symbol
            AND tstzrange(gap_start, gap_end) && tstzrange(p_from, NULL)) AS outages
$$;

-- Two transactions agree on whether the reference's newest candle is there: the one that brings it (shared) and
-- the one that writes rows of others without it (alone).
CREATE OR REPLACE FUNCTION lock_reference(p_reference text, p_shared boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_shared THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('reference:' || p_reference, 0));
    ELSE
        PERFORM pg_advisory_xact_lock(hashtextextended('reference:' || p_reference, 0));
    END IF;
END
$$;

-- Cross features compare every symbol with the reference: what happens to its minutes [p_from, p_to) makes the
-- rows of all others stale, p_window minutes far, as far as rows are kept. p_head: new minutes in the stream's own
-- order, which a row lacks only if it did not wait for them. Such a row is looked for after the lock, by a
-- statement of its own: it is seen if it is written, and if it is not yet, its writer will see the candle.
CREATE OR REPLACE FUNCTION mark_beside(
    p_reference text, p_from timestamptz, p_to timestamptz, p_window integer, p_head boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kept timestamptz;
    reach timestamptz;
BEGIN
    IF p_head THEN
        PERFORM lock_reference(p_reference, true);
        IF coalesce((SELECT max(time) FROM feature_values) <= p_from, true) THEN
            RETURN;
        END IF;
    END IF;
    reach := flat_until(p_reference, p_from, p_to) + p_window * interval '1 minute';
    kept := coalesce((SELECT least(time, now()) FROM market_clock), '-infinity') - interval '1 month';
    IF reach <= kept THEN
        RETURN;
    END IF;
    -- Of a change that is no head rows may be in the making: who has none yet is marked too.
    INSERT INTO stale_features (symbol, from_time, to_time)
    SELECT symbol, p_from + interval '1 minute', reach
    FROM symbols
    WHERE symbol <> p_reference
      AND coalesce(expected_until > p_from, true) AND coalesce(first_kline < reach, true)
      AND (NOT p_head OR EXISTS (SELECT FROM feature_values AS f WHERE f.symbol = symbols.symbol AND f.time > p_from));
END
$$;

DROP FUNCTION IF EXISTS record_outage(text, timestamptz, timestamptz, interval, integer);

-- The exchange has rows on both sides of [p_from, p_to) and none inside: a provisional outage, to be
-- looked at again p_confirm of market time later. It joins the provisional outages it touches. p_reference is the
-- symbol that all others are compared with, p_cross_window minutes far.
CREATE OR REPLACE FUNCTION record_outage(
    p_symbol text, p_from timestamptz, p_to timestamptz, p_confirm interval, p_window integer,
    p_reference text DEFAULT NULL, p_cross_window integer DEFAULT 0
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
        -- It may be what gives the outages after it their price.
        PERFORM mark_stale(p_symbol, lower(part), flat_until(p_symbol, lower(part), upper(part)), p_window);
        IF p_symbol = p_reference THEN
            PERFORM mark_beside(p_symbol, lower(part), upper(part), p_cross_window);
        END IF;
    END LOOP;
END
$$;

-- The second look is over: what is still missing is a confirmed outage (joined with the confirmed
-- ones it touches), what came back is a repaired gap. False, and nothing changes, for anyone but the holder.
CREATE OR REPLACE FUNCTION settle_outage(p_id bigint, p_owner text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    looked data_quality_logs;
    absent tstzmultirange;
    part tstzrange;
    whole tstzrange;
    since timestamptz;
BEGIN
    PERFORM lock_ledger(symbol) FROM data_quality_logs WHERE id = p_id;
    SELECT * INTO looked FROM data_quality_logs
    WHERE id = p_id AND event_type = 'outage' AND NOT resolved AND lease_owner IS NOT DISTINCT FROM p_owner
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
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
            RETURNING tstzrange(gap_start, gap_end) AS span, resolved_at
        )
        -- The first of them says since when a look at any of it may have found something.
        SELECT range_merge(part, coalesce(range_merge(range_agg(span)), part)), least(min(resolved_at), now())
        INTO whole, since FROM touching;
        INSERT INTO data_quality_logs (created_at, event_type, symbol, gap_start, gap_end, candles_missing,
                                       resolved, resolved_at, attempts, detail)
        VALUES (looked.created_at, 'outage', looked.symbol, lower(whole), upper(whole), minutes_of(whole),
                true, since, looked.attempts, '{"confirmed": true}');
    END LOOP;
    RETURN true;
END
$$;

-- A worker is done with a gap: it closes when every minute is stored or in an outage, else what is
-- left stays open and is tried again at p_retry (wall clock). Null, and nothing changes, for anyone but the
-- holder.
CREATE OR REPLACE FUNCTION settle_gap(
    p_id bigint, p_recovered integer, p_retry timestamptz, p_reason text, p_owner text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    looked data_quality_logs;
    absent tstzmultirange;
BEGIN
    PERFORM lock_ledger(symbol) FROM data_quality_logs WHERE id = p_id;
    SELECT * INTO looked FROM data_quality_logs
    WHERE id = p_id AND event_type = 'gap' AND NOT resolved AND lease_owner IS NOT DISTINCT FROM p_owner
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    absent := missing_ranges(looked.symbol, looked.gap_start, looked.gap_end) - coalesce(
        (SELECT range_agg(tstzrange(gap_start, gap_end)) FROM data_quality_logs
         WHERE symbol = looked.symbol AND event_type = 'outage'), '{}');
    absent := absent * owed_minutes(looked.symbol);
    UPDATE data_quality_logs
    SET candles_recovered = candles_recovered + p_recovered, lease_until = NULL, lease_owner = NULL,
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

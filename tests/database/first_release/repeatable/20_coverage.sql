-- Which minutes are expected, which are missing, and what became of every one.

-- The minutes this database answers for: half-open, whole minutes, empty for an unknown symbol.
CREATE OR REPLACE FUNCTION expected_range(p_symbol text) RETURNS tstzrange LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN starts < ends THEN tstzrange(starts, ends) ELSE tstzrange('empty') END
    FROM symbols, LATERAL (
        SELECT floor_minute(greatest(first_kline, history_start, market_now() - interval '13 months')
                            + interval '59.999999 seconds') AS starts,
               floor_minute(least(expected_until, market_now())) AS ends
    ) AS edges
    WHERE symbol = p_symbol
    UNION ALL SELECT tstzrange('empty')
    LIMIT 1
$$;

-- Minutes of [p_from, p_to) without a stored candle. Days are counted first, and only those that
-- lack a row are looked at by the minute.
CREATE OR REPLACE FUNCTION missing_ranges(p_symbol text, p_from timestamptz, p_to timestamptz)
RETURNS tstzmultirange LANGUAGE sql STABLE AS $$
    WITH days AS (
        SELECT day, greatest(day, p_from) AS starts, least(day + interval '24 hours', p_to) AS ends
        FROM generate_series(
            date_bin('1 day', p_from, timestamptz '2000-01-01 00:00:00+00'),
            p_to - interval '1 microsecond', interval '24 hours') AS day
    ), counted AS (
        SELECT date_bin('1 day', time, timestamptz '2000-01-01 00:00:00+00') AS day, count(*) AS present
        FROM candles_1m
        WHERE symbol = p_symbol AND time >= p_from AND time < p_to
        GROUP BY 1
    ), suspects AS (
        SELECT starts, ends, coalesce(present, 0) AS present
        FROM days LEFT JOIN counted USING (day)
        WHERE coalesce(present, 0) * interval '1 minute' < ends - starts
    )
    SELECT coalesce(range_agg(holes), '{}')
    FROM suspects, LATERAL (
        SELECT CASE WHEN present = 0 THEN tstzmultirange(tstzrange(starts, ends)) ELSE
            tstzmultirange(tstzrange(starts, ends)) - (
                SELECT range_agg(tstzrange(time, time + interval '1 minute'))
                FROM candles_1m
                WHERE symbol = p_symbol AND time >= starts AND time < ends)
        END
    ) AS hole (holes)
$$;

CREATE OR REPLACE FUNCTION minutes_of(p_range tstzrange) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((extract(epoch FROM upper(p_range) - lower(p_range)) / 60)::integer, 0)
$$;

-- Every expected minute of [p_from, p_to) exactly once, in order:
-- stream | rest | archive | no-trade | outage | missing.
CREATE OR REPLACE FUNCTION candle_coverage(p_symbol text, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (from_time timestamptz, to_time timestamptz, status text) LANGUAGE sql STABLE AS $$
    WITH wanted AS (
        SELECT expected_range(p_symbol) * CASE WHEN p_from < p_to
            THEN tstzrange(floor_minute(p_from), floor_minute(p_to + interval '59.999999 seconds'))
            ELSE tstzrange('empty') END AS span
    ), present AS (
        SELECT time, CASE WHEN trades = 0 THEN 'no-trade' ELSE source END AS status
        FROM candles_1m, wanted
        WHERE symbol = p_symbol AND time >= lower(span) AND time < upper(span)
    ), islands AS (
        SELECT tstzrange(min(time), max(time) + interval '1 minute') AS span, status
        FROM (SELECT time, status,
                     time - row_number() OVER (PARTITION BY status ORDER BY time) * interval '1 minute' AS island
              FROM present) AS numbered
        GROUP BY status, island
    ), absent AS (
        SELECT tstzmultirange(span) - coalesce((SELECT range_agg(span) FROM islands), '{}') AS spans
        FROM wanted
    ), outages AS (
        SELECT coalesce(range_agg(tstzrange(gap_start, gap_end)), '{}') AS spans
        FROM data_quality_logs
        WHERE symbol = p_symbol AND event_type = 'outage' AND resolved
    ), ranges AS (
        SELECT span, status FROM islands
        UNION ALL
        SELECT unnest(absent.spans * outages.spans), 'outage' FROM absent, outages
        UNION ALL
        SELECT unnest(absent.spans - outages.spans), 'missing' FROM absent, outages
    )
    SELECT lower(span), upper(span), status FROM ranges ORDER BY lower(span)
$$;

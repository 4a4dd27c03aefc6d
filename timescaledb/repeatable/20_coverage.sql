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

-- Minutes of [p_from, p_to) without a stored candle. Days are counted first, and only those that lack a
-- row are looked at by the minute, a week of them at a time. Every look is planned with its own times
-- (EXECUTE): it opens the chunks it reads, where a plan made for any time opens every chunk there is.
CREATE OR REPLACE FUNCTION missing_ranges(p_symbol text, p_from timestamptz, p_to timestamptz)
RETURNS tstzmultirange LANGUAGE plpgsql STABLE AS $$
DECLARE
    holes tstzmultirange := '{}';
    part tstzmultirange;
    look record;
BEGIN
    IF p_from < p_to IS NOT TRUE THEN
        RETURN holes;
    END IF;
    FOR look IN EXECUTE $days$
        WITH days AS (
            SELECT day, greatest(day, $2) AS starts, least(day + interval '24 hours', $3) AS ends
            FROM generate_series(date_bin('1 day', $2, timestamptz '2000-01-01 00:00:00+00'),
                                 $3 - interval '1 microsecond', interval '24 hours') AS day
        ), counted AS (
            SELECT date_bin('1 day', time, timestamptz '2000-01-01 00:00:00+00') AS day, count(*) AS present
            FROM candles_1m
            WHERE symbol = $1 AND time >= $2 AND time < $3
            GROUP BY 1
        )
        SELECT coalesce(present, 0) = 0 AS empty, min(starts) AS starts, max(ends) AS ends,
               range_agg(tstzrange(starts, ends)) AS spans
        FROM days LEFT JOIN counted USING (day)
        WHERE coalesce(present, 0) * interval '1 minute' < ends - starts
        GROUP BY 1, date_bin('7 days', day, timestamptz '2000-01-01 00:00:00+00')
        $days$ USING p_symbol, p_from, p_to
    LOOP
        IF look.empty THEN
            holes := holes + look.spans;
            CONTINUE;
        END IF;
        EXECUTE $rows$
            SELECT range_agg(tstzrange(after, before)) FROM (
                SELECT time + interval '1 minute' AS after, lead(time, 1, $3) OVER (ORDER BY time) AS before
                FROM candles_1m WHERE symbol = $1 AND time >= $2 AND time < $3
                UNION ALL
                SELECT $2, coalesce(min(time), $3) FROM candles_1m WHERE symbol = $1 AND time >= $2 AND time < $3
            ) AS between_rows WHERE after < before
            $rows$ INTO part USING p_symbol, look.starts, look.ends;
        -- Days between the suspects were whole, or empty and are added as such.
        holes := holes + coalesce(part, '{}');
    END LOOP;
    RETURN holes;
END
$$;

CREATE OR REPLACE FUNCTION minutes_of(p_range tstzrange) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((extract(epoch FROM upper(p_range) - lower(p_range)) / 60)::integer, 0)
$$;

-- The minutes of [p_from, p_to) that have a row, by what the row is: stream | rest | archive | no-trade.
-- A day is taken for what most of its rows are, less its holes, less the rows that are something else:
-- only those rows are read one by one. Planned as in missing_ranges; both times are whole minutes.
CREATE OR REPLACE FUNCTION candle_kinds(p_symbol text, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (kind text, spans tstzmultirange) LANGUAGE plpgsql STABLE AS $$
DECLARE
    kinds text[] := '{stream,rest,archive,no-trade}';
    stored tstzmultirange[] := '{"{}","{}","{}","{}"}';
    look record;
    other record;
    run tstzrange;
BEGIN
    FOR look IN EXECUTE $days$
        WITH counted AS (
            SELECT date_bin('1 day', time, timestamptz '2000-01-01 00:00:00+00') AS day, count(*) AS present,
                   count(*) FILTER (WHERE source = 'stream' AND trades <> 0) AS stream,
                   count(*) FILTER (WHERE source = 'rest' AND trades <> 0) AS rest,
                   count(*) FILTER (WHERE source = 'archive' AND trades <> 0) AS archive,
                   count(*) FILTER (WHERE trades = 0) AS quiet
            FROM candles_1m
            WHERE symbol = $1 AND time >= $2 AND time < $3
            GROUP BY 1
        ), days AS (
            SELECT tstzrange(greatest(day, $2), least(day + interval '24 hours', $3)) AS span, present,
                   ARRAY[stream, rest, archive, quiet] AS counts, greatest(stream, rest, archive, quiet) AS most
            FROM counted
        )
        SELECT array_position(counts, most) AS place, range_agg(span) AS days,
               range_agg(span) FILTER (WHERE most < present) AS mixed,
               range_agg(span) FILTER (WHERE present * interval '1 minute' < upper(span) - lower(span)) AS short
        FROM days GROUP BY 1
        $days$ USING p_symbol, p_from, p_to
    LOOP
        FOR run IN SELECT unnest(look.short) LOOP
            look.days := look.days - missing_ranges(p_symbol, lower(run), upper(run));
        END LOOP;
        FOR run IN SELECT unnest(look.mixed) LOOP
            FOR other IN EXECUTE $rows$
                SELECT CASE WHEN trades = 0 THEN 'no-trade' ELSE source END AS kind,
                       range_agg(tstzrange(time, time + interval '1 minute')) AS spans
                FROM candles_1m
                WHERE symbol = $1 AND time >= $2 AND time < $3
                  AND CASE $4 WHEN 'no-trade' THEN trades <> 0 ELSE source <> $4 OR trades = 0 END
                GROUP BY 1
                $rows$ USING p_symbol, lower(run), upper(run), kinds[look.place]
            LOOP
                stored[array_position(kinds, other.kind)] := stored[array_position(kinds, other.kind)] + other.spans;
                look.days := look.days - other.spans;
            END LOOP;
        END LOOP;
        stored[look.place] := stored[look.place] + look.days;
    END LOOP;
    RETURN QUERY SELECT kinds[n], stored[n] FROM generate_subscripts(kinds, 1) AS n;
END
$$;

-- Every expected minute of [p_from, p_to) exactly once, in order:
-- stream | rest | archive | no-trade | outage | missing.
CREATE OR REPLACE FUNCTION candle_coverage(p_symbol text, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (from_time timestamptz, to_time timestamptz, status text) LANGUAGE sql STABLE AS $$
    WITH wanted AS MATERIALIZED (
        SELECT expected_range(p_symbol) * CASE WHEN p_from < p_to
            THEN tstzrange(floor_minute(p_from), floor_minute(p_to + interval '59.999999 seconds'))
            ELSE tstzrange('empty') END AS span
    ), present AS MATERIALIZED (
        SELECT kind, spans FROM wanted, candle_kinds(p_symbol, lower(span), upper(span))
    ), absent AS (
        SELECT tstzmultirange(span) - coalesce((SELECT range_agg(spans) FROM present), '{}') AS spans
        FROM wanted
    ), outages AS (
        SELECT coalesce(range_agg(tstzrange(gap_start, gap_end)), '{}') AS spans
        FROM data_quality_logs
        WHERE symbol = p_symbol AND event_type = 'outage' AND resolved
    ), ranges AS (
        SELECT unnest(spans) AS span, kind AS status FROM present
        UNION ALL
        SELECT unnest(absent.spans * outages.spans), 'outage' FROM absent, outages
        UNION ALL
        SELECT unnest(absent.spans - outages.spans), 'missing' FROM absent, outages
    )
    SELECT lower(span), upper(span), status FROM ranges ORDER BY lower(span)
$$;

-- A request that opens no gap has an id too. $1 symbol, $2 and $3 range, $4 the range as JSON.
INSERT INTO data_quality_logs (event_type, symbol, gap_start, gap_end, candles_missing, resolved, resolved_at, detail)
VALUES ('gap', $1, $2, $3,
        (SELECT coalesce(sum(minutes_of(run)), 0)::integer
         FROM unnest(missing_ranges($1, $2, $3)
                     * owed_minutes($1)
                     - coalesce((SELECT range_agg(tstzrange(gap_start, gap_end)) FROM data_quality_logs
                                 WHERE symbol = $1 AND event_type = 'outage' AND resolved), '{}')) AS run),
        true, now(), jsonb_build_object('cause', 'request', 'requested', $4::text::jsonb))
RETURNING id

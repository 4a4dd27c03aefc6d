-- The minutes of [$2, $3) of $1 that are wanted: not stored, expected of the exchange, and, unless this
-- is an outage's second look ($4), in no outage that has one coming.
SELECT lower(run) AS starts, upper(run) AS ends
FROM unnest(
    missing_ranges($1, $2, $3)
    * owed_minutes($1)
    - coalesce((SELECT range_agg(tstzrange(gap_start, gap_end)) FROM data_quality_logs
                WHERE symbol = $1 AND event_type = 'outage' AND NOT resolved AND NOT $4::boolean), '{}')
) AS run
ORDER BY 1

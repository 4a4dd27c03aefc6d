-- A backfill and what became of it: the row, the pieces cut off it, and every open gap in its range.
WITH job AS (
    SELECT * FROM data_quality_logs WHERE id = $1 AND event_type = 'gap'
), family AS (
    SELECT l.gap_start, l.gap_end, l.candles_recovered, l.attempts
    FROM data_quality_logs AS l, job
    WHERE l.symbol = job.symbol AND l.event_type = 'gap' AND l.gap_start >= job.gap_start
      AND (l.id = job.id OR l.detail -> 'parent' = to_jsonb(job.id))
), span AS (
    SELECT job.symbol,
           coalesce((job.detail -> 'requested' ->> 0)::timestamptz, (SELECT min(gap_start) FROM family)) AS starts,
           coalesce((job.detail -> 'requested' ->> 1)::timestamptz, (SELECT max(gap_end) FROM family)) AS ends
    FROM job
), unresolved AS (
    SELECT l.lease_until > now() AND NOT l.detail ? 'waiting_for' AS running,
           l.lease_until > now() AND l.detail ? 'waiting_for' AS waiting,
           l.detail ->> 'waiting_for' AS reason, l.gap_end
    FROM data_quality_logs AS l, span
    WHERE l.symbol = span.symbol AND l.event_type = 'gap' AND NOT l.resolved
      AND l.gap_start < span.ends AND l.gap_end > span.starts
), outages AS (
    SELECT coalesce(range_agg(tstzrange(l.gap_start, l.gap_end)), '{}') AS known,
           coalesce(range_agg(tstzrange(l.gap_start, l.gap_end)) FILTER (WHERE l.resolved), '{}') AS confirmed
    FROM data_quality_logs AS l, span
    WHERE l.symbol = span.symbol AND l.event_type = 'outage'
      AND l.gap_start < span.ends AND l.gap_end > span.starts
), absent AS (
    SELECT missing_ranges(span.symbol, span.starts, span.ends)
           * owed_minutes(span.symbol) AS runs
    FROM span
)
SELECT span.symbol, span.starts, span.ends,
       CASE WHEN NOT EXISTS (SELECT FROM unresolved) THEN 'completed'
            WHEN EXISTS (SELECT FROM unresolved WHERE running) THEN 'running'
            WHEN EXISTS (SELECT FROM unresolved WHERE waiting IS NOT TRUE) THEN 'open'
            ELSE 'waiting' END AS status,
       (SELECT coalesce(sum(minutes_of(run)), 0)::integer
        FROM absent, outages, unnest(absent.runs - outages.confirmed) AS run) AS candles_missing,
       (SELECT coalesce(sum(minutes_of(run)), 0)::integer
        FROM absent, outages, unnest(absent.runs * outages.known) AS run) AS outage_minutes,
       (SELECT sum(candles_recovered)::integer FROM family) AS candles_recovered,
       (SELECT max(attempts) FROM family) AS attempts,
       (SELECT reason FROM unresolved WHERE waiting ORDER BY gap_end DESC LIMIT 1) AS waiting_for
FROM span

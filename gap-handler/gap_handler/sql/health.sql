-- What a look at the service needs of the database. Only gaps in somebody's hands can be partly filled;
-- the others are taken whole.
SELECT server_kind() AS server_kind, market_now() AS now,
       count(*) FILTER (WHERE event_type = 'gap') AS open_gaps,
       count(*) FILTER (WHERE event_type = 'outage') AS provisional_outages,
       coalesce(sum(CASE WHEN event_type = 'gap' AND lease_until > now()
                         THEN (SELECT coalesce(sum(minutes_of(run)), 0)
                               FROM unnest(missing_ranges(symbol, gap_start, gap_end)) AS run)
                         ELSE minutes_of(tstzrange(gap_start, gap_end)) END), 0)::bigint AS minutes_missing
FROM data_quality_logs
WHERE NOT resolved AND event_type IN ('gap', 'outage')

-- What a look at the service needs of the database, beside completeness.sql.
SELECT server_kind() AS server_kind, market_now() AS now,
       count(*) FILTER (WHERE event_type = 'gap') AS open_gaps,
       count(*) FILTER (WHERE event_type = 'outage') AS provisional_outages
FROM data_quality_logs
WHERE NOT resolved AND event_type IN ('gap', 'outage')

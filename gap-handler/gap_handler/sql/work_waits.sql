-- Whether a worker could claim something now.
SELECT EXISTS (
    SELECT FROM data_quality_logs
    WHERE NOT resolved AND event_type IN ('gap', 'outage')
      AND (lease_until IS NULL OR lease_until < now())
      AND (next_look_at IS NULL OR next_look_at <= market_now()))

-- Somebody asks for [$2, $3) of $1: open gaps in it that wait for their next try are claimable now.
UPDATE data_quality_logs SET lease_until = NULL
WHERE symbol = $1 AND event_type = 'gap' AND NOT resolved AND gap_start < $3 AND gap_end > $2
  AND lease_owner IS NULL AND lease_until > now() AND detail ? 'waiting_for'

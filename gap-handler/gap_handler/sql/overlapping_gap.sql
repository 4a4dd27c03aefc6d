-- The newest open gap that shares a minute with [$2, $3) of $1.
SELECT id FROM data_quality_logs
WHERE symbol = $1 AND event_type = 'gap' AND NOT resolved AND gap_start < $3 AND gap_end > $2
ORDER BY gap_end DESC
LIMIT 1

-- Open times in [$2, $3) of $1 whose impossible candle the ledger already holds.
SELECT DISTINCT gap_start AS time
FROM data_quality_logs
WHERE symbol = $1 AND event_type = 'invalid' AND gap_start >= $2 AND gap_start < $3

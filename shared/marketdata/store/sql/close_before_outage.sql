-- The close in force at $2, if an outage that began at or before it reaches to it.
SELECT c.close
FROM data_quality_logs AS l JOIN candles_1m AS c ON c.symbol = l.symbol AND c.time = l.gap_start - interval '1 minute'
WHERE l.event_type = 'outage' AND l.symbol = $1 AND l.gap_start < $2 AND l.gap_end > $2

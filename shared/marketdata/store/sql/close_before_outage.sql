-- The close in force at $2, if an outage that began before it reaches over it: of the newest candle
-- from the minute before the outage on (a row inside an outage beats it).
SELECT c.close
FROM data_quality_logs AS l JOIN candles_1m AS c
  ON c.symbol = l.symbol AND c.time >= l.gap_start - interval '1 minute' AND c.time < $2
WHERE l.event_type = 'outage' AND l.symbol = $1 AND l.gap_start < $2 AND l.gap_end > $2
ORDER BY c.time DESC
LIMIT 1

-- The close in force at $2, if that lies in an outage: of the newest candle from the minute before the outage
-- on (a row inside an outage beats it). Outages in a row are one.
SELECT c.close
FROM (SELECT unnest(range_agg(tstzrange(gap_start, gap_end))) AS run
      FROM data_quality_logs
      WHERE event_type = 'outage' AND symbol = $1 AND gap_start <= $2::timestamptz) AS outages
     JOIN candles_1m AS c ON c.symbol = $1 AND c.time >= lower(run) - interval '1 minute' AND c.time < $2::timestamptz
WHERE run @> $2::timestamptz
ORDER BY c.time DESC
LIMIT 1

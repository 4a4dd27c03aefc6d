SELECT gap_start, gap_end
FROM data_quality_logs
WHERE event_type = 'outage' AND symbol = $1 AND gap_start < $3 AND gap_end > $2

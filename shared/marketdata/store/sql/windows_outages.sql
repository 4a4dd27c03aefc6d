SELECT symbol, gap_start, gap_end
FROM data_quality_logs
WHERE event_type = 'outage' AND symbol = ANY ($1::text[]) AND gap_start < $3::timestamptz AND gap_end > $2::timestamptz

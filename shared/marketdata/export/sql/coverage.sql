SELECT status, sum(extract(epoch FROM to_time - from_time) / 60)::bigint AS minutes
FROM candle_coverage($1, $2, $3)
GROUP BY status

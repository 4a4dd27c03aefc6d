-- A page is written: keep count, and hold on to the lease. $1 id, $2 candles, $3 seconds.
UPDATE data_quality_logs
SET candles_recovered = candles_recovered + $2, lease_until = now() + make_interval(secs => $3)
WHERE id = $1 AND NOT resolved

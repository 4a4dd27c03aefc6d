-- Leased and not waiting means running.
UPDATE data_quality_logs SET detail = detail - 'waiting_for' WHERE id = $1 AND detail ? 'waiting_for'

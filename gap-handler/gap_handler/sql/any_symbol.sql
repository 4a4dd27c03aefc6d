SELECT symbol FROM symbols WHERE status = 'TRADING' ORDER BY symbol LIMIT 1

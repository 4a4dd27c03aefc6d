SELECT symbol FROM symbols ORDER BY symbol

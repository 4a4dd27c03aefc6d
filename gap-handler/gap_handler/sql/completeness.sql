SELECT symbol, expected_minutes, present_minutes, missing_minutes, outage_minutes, completeness
FROM history_completeness
ORDER BY symbol

-- Symbols whose last $1 finished UTC days were not compared yet, from 04:00 of market time on, with the expected
-- minutes of those days. A day is left four hours to be published and repaired.
SELECT symbol, until - $1 * interval '24 hours' AS starts, until
FROM (SELECT date_bin('1 day', market_now() - interval '4 hours', timestamptz '2000-01-01 00:00:00+00') AS until) AS day,
     symbols,
     LATERAL (SELECT expected_range(symbol) * tstzrange(until - $1 * interval '24 hours', until) AS span) AS days
WHERE until > coalesce(audited_until, '-infinity') AND NOT isempty(span)
ORDER BY symbol

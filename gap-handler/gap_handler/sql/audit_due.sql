-- Symbols with finished UTC days that were not compared yet, from 04:00 of market time on, and the range to compare:
-- the last $1 days, and whatever nights were missed before them, a month at most. A day is left four hours to be
-- published and repaired.
SELECT symbol, greatest(least(until - $1 * interval '24 hours', audited_until), until - interval '31 days') AS starts, until
FROM (SELECT date_bin('1 day', market_now() - interval '4 hours', timestamptz '2000-01-01 00:00:00+00') AS until) AS day,
     symbols,
     LATERAL (SELECT expected_range(symbol) * tstzrange(until - $1 * interval '24 hours', until) AS span) AS days
WHERE until > coalesce(audited_until, '-infinity') AND NOT isempty(span)
ORDER BY symbol

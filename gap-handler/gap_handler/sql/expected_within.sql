-- The expected minutes of $1 in [$2, $3), and the market's time.
SELECT lower(span) AS starts, upper(span) AS ends, market_now() AS now
FROM (SELECT expected_range($1) * tstzrange($2, $3) AS span) AS within

-- Each symbol of $1, or every one where $1 is null, with the time of its newest row; null before the first.
SELECT s.symbol, (SELECT max(time) FROM feature_values AS f WHERE f.symbol = s.symbol) AS newest
FROM symbols AS s
WHERE $1::text[] IS NULL OR s.symbol = ANY ($1)

SELECT time, values, known_at
FROM feature_values
WHERE symbol = $1 AND time >= $2 AND time < $3

-- Whether any of these minutes of $1 is stored by now: $2 minutes, from $3 to $4.
SELECT EXISTS (
    SELECT FROM candles_1m
    WHERE symbol = $1 AND time BETWEEN $3::timestamptz AND $4::timestamptz AND time = ANY ($2::timestamptz[])
)

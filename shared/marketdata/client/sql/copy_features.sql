-- The question for each symbol of $1, to be sent by COPY, which takes no parameters: rows of [$2, $3) with the
-- features $4. Every field is as wide in every row, so NaN stands for null; no stored value is NaN.
SELECT format('SELECT time, feature_version, window_coverage, known_at, %s FROM feature_matrix'
              ' WHERE symbol = %L AND time >= %L AND time < %L ORDER BY time',
              (SELECT string_agg(format('coalesce(%I, ''NaN'')', name), ', ' ORDER BY place)
               FROM unnest($4::text[]) WITH ORDINALITY AS n (name, place)),
              symbol, $2::timestamptz, $3::timestamptz) AS question
FROM unnest($1::text[]) WITH ORDINALITY AS s (symbol, place)
ORDER BY place

-- The question for each symbol of $1, to be sent by COPY, which takes no parameters: candles of [$2, $3).
-- source is padded to 16 letters: every field is as wide in every row.
SELECT format('SELECT time, open, high, low, close, volume, quote_volume, trades, taker_buy_volume,'
              ' taker_buy_quote_volume, rpad(source, 16), known_at FROM candles_1m'
              ' WHERE symbol = %L AND time >= %L AND time < %L ORDER BY time',
              symbol, $2::timestamptz, $3::timestamptz) AS question
FROM unnest($1::text[]) WITH ORDINALITY AS s (symbol, place)
ORDER BY place

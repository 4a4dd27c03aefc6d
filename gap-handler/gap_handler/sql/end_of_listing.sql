-- A delisted symbol's record ends where the exchange has nothing more: no minute from $2 on is expected.
UPDATE symbols SET expected_until = least(expected_until, $2)
WHERE symbol = $1 AND status = 'DELISTED'
RETURNING symbol

CALL recompress($1, $2)

CALL refresh_rollups($1, $2)

SELECT coalesce(audited_until >= $2, false) FROM symbols WHERE symbol = $1

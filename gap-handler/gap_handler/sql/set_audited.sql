UPDATE symbols SET audited_until = greatest(audited_until, $2) WHERE symbol = $1

-- One audit of a symbol at a time. The session holds the lock: no transaction, and gone with its connection.
SELECT pg_try_advisory_lock(hashtextextended('audit:' || $1, 0))

-- Who holds a shard that may not be held beside shard $2 of $3: the same one, or one of another number of shards. $1
-- is what tells these locks from other advisory ones.
SELECT (key / 1000)::integer AS count, (key % 1000)::integer AS number, coalesce(host(client_addr), 'this machine') AS address
FROM (SELECT pid, objid::bigint AS key FROM pg_locks
      WHERE locktype = 'advisory' AND classid::bigint = $1::bigint AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS held
     LEFT JOIN pg_stat_activity USING (pid)
WHERE pid <> pg_backend_pid() AND (key / 1000 <> $3 OR key % 1000 = $2)
ORDER BY key

# A database of one's own must answer before images are built for it. The bundled one is ours to start.

check_database() {
  local host port cause
  host=$(setting DB_HOST) port=$(setting DB_PORT)
  # Names that exist inside containers alone.
  [[ $ENGINE != docker || $host == *.* && $host != *.docker.internal || $host == *:* ]] || return 0
  cause=$(helper deploy/reach.py "$host" "$port") ||
    complain "DB_HOST: no database answers at $host:$port ($cause). Correct DB_HOST and DB_PORT in .env, or start it."
}
bundled_database || check_database

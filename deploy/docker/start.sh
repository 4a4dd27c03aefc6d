# Starts in the order of the health checks. Containers whose settings and image are unchanged stay as they are.

wait_for_database() {
  local deadline=$((SECONDS + 180)) health
  while :; do
    health=$(container_health btc-ml-timescaledb)
    [[ $health != healthy ]] || return 0
    if [[ $health == exited* || $health == dead* ]] || ((SECONDS > deadline)); then
      compose logs --no-color --tail 20 timescaledb >&2 || true
      fail "The database did not become healthy (it is: $health). Its log is above."
    fi
    sleep 0.5
  done
}

# The password in the container's environment is .env's; the one in the volume is that of its first start.
check_password() {
  # shellcheck disable=SC2016 # expanded inside the container, so that the password is in no process list
  if ! compose exec -T timescaledb sh -c 'PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -qAtc "SELECT 1"' >/dev/null 2>.local/logs/password.log; then
    if grep -q 'password authentication failed' .local/logs/password.log; then
      fail "The database refuses DB_PASSWORD: its volume was made with another password." \
        "Put the old one back into .env, or give the database the new one:" \
        "  docker compose exec timescaledb psql -U $(setting DB_USER) -d $(setting DB_NAME) -c '\\password'" \
        "or delete the data: ./cleanup.sh --purge"
    fi
    tail -n 5 .local/logs/password.log >&2
    fail "The database cannot be used; its message is above." \
      "A changed DB_NAME or DB_USER needs a database that has them: the volume keeps those of its first start."
  fi
}

start_docker() {
  if bundled_database; then
    step "Starting the database"
    quietly .local/logs/up.log compose up --detach --no-build timescaledb
    wait_for_database
    check_password
  fi
  step "Migrating the schema, then starting the services"
  # Created first, so that no health is read from a container that is about to be replaced.
  quietly .local/logs/up.log compose up --no-start --no-build --remove-orphans
  # In the background: Compose itself waits for each health check, and the next step reports on that.
  compose up --detach --no-build --remove-orphans >.local/logs/up.log 2>&1 &
  COMPOSE_UP=$!
}
start_docker

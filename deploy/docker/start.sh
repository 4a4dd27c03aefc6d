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

# password_works: whether the database takes .env's password over TCP. It travels by pipes alone.
password_works() {
  # shellcheck disable=SC2016 # expanded inside the container
  helper deploy/configuration.py password |
    docker exec -i btc-ml-timescaledb sh -c 'p=$(cat; printf x); export PGPASSWORD="${p%x}";  exec psql -h 127.0.0.1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -qAtc "SELECT 1"' >/dev/null 2>.local/logs/password.log
}

# settle_password: a volume keeps the password of its first start. Where .env has another one since, the
# database is given that, over the container's own socket.
settle_password() {
  if password_works; then return; fi
  if ! grep -q 'password authentication failed' .local/logs/password.log; then
    tail -n 5 .local/logs/password.log >&2
    fail "The database cannot be used; its message is above." \
      "A changed DB_NAME or DB_USER needs a database that has them: the volume keeps those of its first start."
  fi
  # shellcheck disable=SC2016 # expanded inside the container
  if ! {
    printf "\\set verifier '%s'\n" "$(helper deploy/configuration.py verifier)"
    cat deploy/password.sql
  } | docker exec -i btc-ml-timescaledb sh -c 'exec psql -w -Xq -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB"' >>.local/logs/password.log 2>&1 ||
    ! password_works; then
    tail -n 5 .local/logs/password.log >&2
    fail "The database refuses DB_PASSWORD, and the new one could not be set: its volume was made with another." \
      "Put the old one back into .env, or delete the data: ./cleanup.sh --purge"
  fi
  step "DB_PASSWORD has changed: the database has the new one"
}

start_docker() {
  if bundled_database; then
    # Before anything is restarted, where it is this very volume that runs.
    if [[ $OLD_ENGINE-$OLD_EXCHANGE == "docker-$EXCHANGE" && $(container_health btc-ml-timescaledb) == healthy ]]; then
      settle_password
    fi
    step "Starting the database"
    quietly .local/logs/up.log compose up --detach --no-build timescaledb
    wait_for_database
    settle_password
  fi
  step "Migrating the schema, then starting the services"
  # Created first, so that no health is read from a container that is about to be replaced.
  quietly .local/logs/up.log compose up --no-start --no-build --remove-orphans
  # In the background: Compose itself waits for each health check, and the next step reports on that.
  compose up --detach --no-build --remove-orphans >.local/logs/up.log 2>&1 &
  COMPOSE_UP=$!
}
start_docker

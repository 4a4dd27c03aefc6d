# Waits until every service is healthy, one line for each that gets there.

wait_for_services() {
  local deadline=$((SECONDS + 240)) pending service health still up=running tries=1
  pending="migrate $(docker_services)"
  while [[ -n $pending ]]; do
    still=''
    for service in $pending; do
      health=$(container_health "$(container_of "$service")")
      if [[ $health == healthy ]]; then
        step "$service is healthy"
      elif [[ $service == migrate && $health == "exited 0" ]]; then
        step "migrate is done"
      else
        still+="$service "
      fi
    done
    pending=${still% }
    [[ -n $pending ]] || break
    if [[ $up == running ]] && ! kill -0 "$COMPOSE_UP" 2>/dev/null; then
      up=ended
      if ! wait "$COMPOSE_UP"; then
        # A service may have been unhealthy for a moment only, as after an outage of the database.
        ((tries < 3)) || give_up "$pending"
        tries=$((tries + 1)) up=running
        sleep 5
        compose up --detach --no-build --remove-orphans >.local/logs/up.log 2>&1 &
        COMPOSE_UP=$!
      fi
    fi
    ((SECONDS < deadline)) || give_up "$pending"
    sleep 0.5
  done
  wait "$COMPOSE_UP" 2>/dev/null || true
}

# settle_pgadmin_password: pgAdmin keeps the login of its first start. Where .env has another one, it gets that.
settle_pgadmin_password() {
  local said
  # shellcheck disable=SC2016 # expanded inside the container
  if said=$(docker exec btc-ml-pgadmin sh -c 'PATH=/venv/bin:$PATH exec python3 /suite/password.py apply' 2>.local/logs/pgadmin-password.log); then
    [[ -z $said ]] || step "$said"
  else
    note "PGADMIN_PASSWORD could not be given to pgAdmin: $(tail -n 1 .local/logs/pgadmin-password.log)"
  fi
}

give_up() {
  local service
  tail -n 5 .local/logs/up.log >&2
  for service in migrate $1; do
    printf -- '--- %s: %s\n' "$service" "$(container_health "$(container_of "$service")")" >&2
    docker logs --tail 15 "$(container_of "$service")" 2>&1 | sed 's/^/    /' >&2 || true
  done
  fail "Not healthy: $1" "The logs' ends are above; all of one: docker compose logs SERVICE"
}

service_address() {
  local address
  address=$(reachable_address)
  case $1 in
    timescaledb) echo "$address:$(setting DB_PORT)" ;;
    data-feeder) echo "http://$address:$(setting FEEDER_PORT)" ;;
    gap-handler) echo "http://$address:$(setting GAP_HANDLER_PORT)" ;;
    pgadmin) echo "http://$address:$(setting PGADMIN_PORT)" ;;
    data-feeder-*) docker port "$(container_of "$1")" 8080 | sed -n '1s|^|http://|p' ;;
    *) echo "inside btc-ml-network" ;;
  esac
}

service_rows() {
  local service health
  for service in $(docker_services); do
    row "$service" "$(service_address "$service")" "$(container_health "$(container_of "$service")")"
  done
  bundled_database || return 0
  # It serves nobody whom a health check could ask: it runs or it does not.
  health=$(container_health btc-ml-backup)
  row backup "$(setting BACKUP_DIR)" "${health/#running/healthy}"
}

newest_rows() { docker compose "${COMPOSE_FILES[@]}" exec -T data-feeder python - <deploy/newest.py; }

useful_commands() {
  cat <<'COMMANDS'
logs     docker compose logs -f data-feeder
SQL      docker compose exec timescaledb psql -U mltrader -d btc_ml_production
history  docker compose exec gap-handler python -m gap_handler status --watch
backup   deploy/backup.sh                one now; every night by itself
stop     ./cleanup.sh
COMMANDS
}

wait_for_services
settle_pgadmin_password

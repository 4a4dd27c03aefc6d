# What is here already: other deployments under our names, and data whose password .env has lost.

check_containers() {
  local container where more=''
  ! has_more_feeders || more=$(more_feeders | sed 's/^/btc-ml-/')
  for container in btc-ml-timescaledb btc-ml-migrate btc-ml-feeder btc-ml-gap-handler btc-ml-pgadmin btc-ml-backup btc-ml-exchange-simulator $more; do
    where=$(container_label "$container" com.docker.compose.project.working_dir) || continue
    [[ $where == "$PWD" ]] || complain "The container $container exists and belongs to ${where:-something else}. Stop that first (its own ./cleanup.sh)."
  done
}

# database_volume: the volume of the exchange that is asked for.
database_volume() {
  printf '%s_%s' "$(project_name)" "$([[ $EXCHANGE == demo ]] && echo timescaledb-demo-data || echo timescaledb-data)"
}

check_password_lost() {
  bundled_database || return 0
  grep -qx DB_PASSWORD < <(looked_at missing) || return 0
  if [[ $ENGINE == docker ]]; then
    local volume
    volume=$(database_volume)
    docker volume inspect "$volume" >/dev/null 2>&1 || return 0
    complain "The database's volume $volume exists, and .env no longer has its DB_PASSWORD. Put it back, or delete the data: ./cleanup.sh --purge"
  elif [[ -d .local/data/$EXCHANGE || -L .local/data/$EXCHANGE ]]; then
    complain "The database in .local/data/$EXCHANGE exists, and .env no longer has its DB_PASSWORD. Put it back, or delete the data: ./cleanup.sh --purge"
  fi
}

[[ $ENGINE != docker ]] || check_containers
check_password_lost

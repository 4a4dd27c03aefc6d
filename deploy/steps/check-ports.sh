# Every port that will be published must be free, or already be this deployment's.

# port_is_taken PORT: whether something listens on it here.
port_is_taken() {
  local address
  address=$(reachable_address | tr -d '[]')
  (exec 3<>"/dev/tcp/$address/$1") 2>/dev/null
}

# port_is_ours PORT: whether this deployment holds it at the moment.
port_is_ours() {
  local container
  case $OLD_ENGINE in
    docker)
      for container in $(docker ps --quiet --filter "publish=$1" 2>/dev/null); do
        ! is_ours "$container" || return 0
      done
      return 1
      ;;
    local) local_is_running && grep -qx "$1" .local/run/ports 2>/dev/null ;;
    *) return 1 ;;
  esac
}

# local_is_running: whether the local deployment's supervisor lives.
local_is_running() {
  local pid
  pid=$(cat .local/run/supervisord.pid 2>/dev/null) && kill -0 "$pid" 2>/dev/null
}

port_holder() {
  local who=''
  if command -v docker >/dev/null 2>&1; then
    who=$(docker ps --filter "publish=$1" --format 'container {{.Names}}' 2>/dev/null | head -n 1)
  fi
  if [[ -z $who && -n $HOST_PYTHON ]]; then
    who=$("$HOST_PYTHON" deploy/port_holder.py "$1" 2>/dev/null)
  fi
  [[ -z $who ]] || printf ', by %s' "$who"
}

# check_more_feeders: the ports of docker-compose.shards.yml, which no setting names.
check_more_feeders() {
  local service port name found seen=' '
  set_compose_files
  if ! found=$(more_feeders_ports); then
    complain "$MORE_FEEDERS cannot be read: docker compose ${COMPOSE_FILES[*]} config says why."
    return
  fi
  while read -r service port; do
    [[ -n $service ]] || continue
    for name in DB_PORT FEEDER_PORT GAP_HANDLER_PORT PGADMIN_PORT; do
      [[ $name == DB_PORT ]] && ! bundled_database && continue
      ((10#$(setting "$name") != port)) || complain "$service in $MORE_FEEDERS and $name have both port $port. Give one of them another."
    done
    [[ $seen != *" $port "* ]] || complain "Two feeders in $MORE_FEEDERS have port $port. Give one of them another."
    seen+="$port "
    if port_is_taken "$port" && ! port_is_ours "$port"; then
      complain "$service: port $port is taken$(port_holder "$port"). Give it a free one under ports in $MORE_FEEDERS, or stop what holds it."
    fi
  done <<<"$found"
}

check_ports() {
  local names=(FEEDER_PORT GAP_HANDLER_PORT) name port cause
  if ! cause=$(helper deploy/bindable.py "$(setting BIND_ADDRESS)"); then
    complain "BIND_ADDRESS: $(setting BIND_ADDRESS) is no address of this machine ($cause). Set it in .env to 127.0.0.1, 0.0.0.0 or one that is."
    return
  fi
  ! bundled_database || names=(DB_PORT "${names[@]}")
  [[ $ENGINE != docker ]] || names+=(PGADMIN_PORT)
  for name in "${names[@]}"; do
    port=$(setting "$name")
    if port_is_taken "$port" && ! port_is_ours "$port"; then
      complain "$name: port $port is taken$(port_holder "$port"). Set $name in .env to a free one, or stop what holds it."
    fi
  done
  if [[ $ENGINE == docker ]] && has_more_feeders; then check_more_feeders; fi
}
check_ports

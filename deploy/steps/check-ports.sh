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

check_ports() {
  local names=(FEEDER_PORT GAP_HANDLER_PORT) name port
  ! bundled_database || names=(DB_PORT "${names[@]}")
  [[ $ENGINE != docker ]] || names+=(PGADMIN_PORT)
  for name in "${names[@]}"; do
    port=$(setting "$name")
    if port_is_taken "$port" && ! port_is_ours "$port"; then
      complain "$name: port $port is taken$(port_holder "$port"). Set $name in .env to a free one, or stop what holds it."
    fi
  done
}
check_ports

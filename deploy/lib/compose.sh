# Docker Compose with the files of this deployment, and questions about what it runs.

engine_answers() { command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; }

# compose_is_new_enough: Compose v2.20 or later as a plugin.
compose_is_new_enough() {
  local version major minor
  version=$(docker compose version --short 2>/dev/null) || return 1
  version=${version#v}
  major=${version%%.*}
  minor=${version#*.}
  minor=${minor%%.*}
  [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]] && ((major > 2 || (major == 2 && minor >= 20)))
}

why_no_docker() {
  if ! command -v docker >/dev/null 2>&1; then
    echo "docker is not installed"
  elif ! docker info >/dev/null 2>&1; then
    echo "no Docker engine answers (is it running, and may this user talk to it?)"
  else
    echo "Compose v2.20 or later is not installed (docker compose version: $(docker compose version --short 2>/dev/null || echo none))"
  fi
}

# More feeders on this machine (docs/scaling.md). A demo has one.
MORE_FEEDERS=docker-compose.shards.yml
has_more_feeders() { [[ $EXCHANGE != demo && -f $MORE_FEEDERS ]]; }

# more_feeders_ports: SERVICE PORT of each, as Compose reads the file.
more_feeders_ports() {
  local service found
  found=$(compose config --format json 2>/dev/null) || return 1
  for service in $(more_feeders); do
    # Compose sorts its keys and indents by two: the service's own `published` is the first after its name.
    sed -n "/^    \"$service\": {\$/,/^    }/s/^ *\"published\": \"\([0-9]*\)\".*/$service \1/p" <<<"$found"
  done
}
more_feeders() { sed -n 's/^  \(data-feeder-[0-9]*\):.*/\1/p' "$MORE_FEEDERS"; }

# set_compose_files: chooses the files for EXCHANGE and DB_HOST.
set_compose_files() {
  COMPOSE_FILES=(--file docker-compose.yml)
  if [[ $EXCHANGE == demo ]]; then
    COMPOSE_FILES+=(--file deploy/docker/demo.yml)
    DEMO_SYMBOLS=$(setting SYMBOLS)
    DEMO_HISTORY_DAYS=$(setting HISTORY_DAYS)
    export DEMO_SYMBOLS DEMO_HISTORY_DAYS
  fi
  bundled_database || COMPOSE_FILES+=(--file deploy/docker/external-database.yml)
  ! has_more_feeders || COMPOSE_FILES+=(--file "$MORE_FEEDERS")
  # Backups are files of whoever deploys. In a rootless engine that is what root is inside.
  BACKUP_USER=$(id -u):$(id -g)
  ! docker info --format '{{.SecurityOptions}}' 2>/dev/null | grep -q rootless || BACKUP_USER=0:0
  export BACKUP_USER
}

compose() { docker compose "${COMPOSE_FILES[@]}" "$@" </dev/null; }

# compose_plain: without any override, for questions that concern the project alone.
compose_plain() { docker compose --file docker-compose.yml "$@" </dev/null; }

# project_name: what Compose calls this deployment (COMPOSE_PROJECT_NAME, else the folder's name).
project_name() { compose_plain config --format json 2>/dev/null | sed -n 's/^  "name": "\([^"]*\)",\{0,1\}$/\1/p' | head -n 1; }

# container_label CONTAINER LABEL: its value; fails where there is no such container.
container_label() { docker inspect --type container --format "{{index .Config.Labels \"$2\"}}" "$1" 2>/dev/null; }

# is_ours CONTAINER: whether this very checkout made it.
is_ours() {
  [[ $(container_label "$1" com.docker.compose.project.working_dir) == "$PWD" ]]
}

# container_health CONTAINER: healthy, starting, unhealthy, running (no check), exited 0…, or absent.
container_health() {
  docker inspect --type container --format \
    '{{if eq .State.Status "running"}}{{if .State.Health}}{{.State.Health.Status}}{{else}}running{{end}}{{else}}{{.State.Status}} {{.State.ExitCode}}{{end}}' \
    "$1" 2>/dev/null || echo absent
}

container_of() {
  case $1 in
    data-feeder) echo btc-ml-feeder ;;
    *) echo "btc-ml-$1" ;;
  esac
}

docker_services() {
  ! bundled_database || echo timescaledb
  [[ $EXCHANGE != demo ]] || echo exchange-simulator
  printf '%s\n' data-feeder gap-handler pgadmin
  ! has_more_feeders || more_feeders
}

# database_users: those of them that have the bundled database open.
database_users() {
  docker_services | grep -vx -e timescaledb -e exchange-simulator
  echo backup
}

# all_files: every service and volume a deployment may have made. Names alone matter here, not values.
all_files() {
  local files=(--file docker-compose.yml --file deploy/docker/demo.yml)
  [[ ! -f $MORE_FEEDERS ]] || files+=(--file "$MORE_FEEDERS")
  DEMO_SYMBOLS='' DEMO_HISTORY_DAYS='' docker compose "${files[@]}" "$@" </dev/null
}

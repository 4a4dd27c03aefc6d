# Backups from the host's side: where they are, how old they are, and running the programs that make them.

# shellcheck source=deploy/backup/archive.sh
source deploy/backup/archive.sh

# load_deployment: ENGINE, EXCHANGE and the settings of what is deployed here.
load_deployment() {
  ENGINE=$(remembered engine)
  EXCHANGE=$(remembered exchange)
  [[ -n $ENGINE && -n $EXCHANGE ]] || fail "Nothing is deployed here yet: ./deploy.sh first."
  export DEPLOY_DEMO=''
  [[ $EXCHANGE != demo ]] || DEPLOY_DEMO=yes
  HOST_PYTHON=$(helper_python || true)
  look_at_settings || fail "The settings are wrong:" "$(looked_at problem)"
  bundled_database || fail "DB_HOST names a database of your own, and its backups are yours to make (pg_dump)."
  if [[ $ENGINE == docker ]]; then
    engine_answers || fail "$(why_no_docker)"
    set_compose_files
  fi
  FOLDER=$(setting BACKUP_DIR)
  make_backup_folder
}

# make_backup_folder: before an engine makes it as root.
make_backup_folder() {
  local said
  said=$(umask 077 && mkdir -p "$(setting BACKUP_DIR)" 2>&1) ||
    fail "BACKUP_DIR: $(setting BACKUP_DIR) cannot be made." "$said"
}

# database_tool SCRIPT ARG…: runs a program of deploy/backup where the database's tools are.
database_tool() {
  mkdir -p .local/logs
  if [[ $ENGINE == local ]]; then
    .local/venv/bin/python deploy/local/database_tool.py "$@"
    return
  fi
  [[ $(container_health btc-ml-timescaledb) == healthy ]] || fail "The database is not running: ./deploy.sh starts it."
  local script=$1
  shift
  # Compose tells of the container it makes on the same stream as the program's errors.
  docker compose --progress quiet "${COMPOSE_FILES[@]}" run --rm --no-deps -T backup "/suite/$script" "$@" </dev/null
}

# duration SECONDS: in words.
duration() {
  if (($1 >= 172800)); then
    printf '%d days' $(($1 / 86400))
  elif (($1 >= 7200)); then
    printf '%d hours' $(($1 / 3600))
  else
    printf '%d minutes' $(($1 / 60))
  fi
}

# newest_backup: of this exchange and engine; nothing where there is none.
newest_backup() { backups_of "$(setting BACKUP_DIR)" "$EXCHANGE-$ENGINE" | sort | tail -n 1; }

# backup_age: seconds since the newest one, or since the nightly ones began where there is none yet.
backup_age() {
  local folder newest taken
  folder=$(setting BACKUP_DIR)
  newest=$(newest_backup)
  if [[ -n $newest ]]; then
    taken=$(manifest "$folder/$newest" taken)
  else
    taken=$(cat "$folder/.since-$EXCHANGE-$ENGINE" 2>/dev/null || date +%s)
  fi
  echo $(($(date +%s) - taken))
}

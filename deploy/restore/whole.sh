# The whole database: services stop, the backup is loaded beside the database in use and then takes its place,
# and deploy.sh migrates it and starts everything again.

# held KEY: from what the database in use says it holds.
held() { sed -n "s/^$1=//p" <<<"$HOLDS"; }

HOLDS=$(database_tool load.sh holds) || fail "The database does not answer: ./deploy.sh starts it."
if (($(held candles) + $(held predictions) > 0)); then
  LOST="The database holds $(held candles) candles (newest $(held newest)) and $(held predictions) predictions"
  [[ $REPLACE == yes ]] ||
    fail "$LOST." "A restore replaces all of it by what $NAME holds: $(manifest "$BACKUP" candles) candles, newest $(manifest "$BACKUP" newest)." \
      "To do that: deploy/restore.sh $NAME --replace" "Nothing has been changed."
  ask_for "$LOST. All of it is replaced by $NAME: $(manifest "$BACKUP" candles) candles, newest $(manifest "$BACKUP" newest)."
fi

stop_services() {
  STOPPED=yes
  if [[ $ENGINE == docker ]]; then
    local names
    mapfile -t names < <(database_users)
    compose stop "${names[@]}" >.local/logs/stop.log 2>&1 || {
      cat .local/logs/stop.log >&2
      fail "The services could not be stopped."
    }
  else
    .local/venv/bin/python deploy/local/stop_services.py
  fi
}

# Said wherever this ends early, Ctrl-C included.
STOPPED=no
left_stopped() {
  [[ $STOPPED == no ]] || printf '%s\n' "restore: the services are stopped. ./deploy.sh starts them." >&2
}
trap left_stopped EXIT

step "Stopping the services; the database keeps running"
stop_services
step "Loading $NAME beside the database in use"
if database_tool load.sh whole "$NAME"; then
  step "Restored. Deploying: the schema is brought up to date and the services start"
  STOPPED=no
  exec ./deploy.sh
fi
step "Not restored: the reason is above, and the database is as it was. Starting the services again"
STOPPED=no
./deploy.sh || true
fail "$NAME has not been restored; the database is as it was."

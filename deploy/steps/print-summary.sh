# The one table: every service with its address and status, how to connect, and the newest rows.

row() { printf '  %-19s %-42s %s\n' "$1" "$2" "${3:-}"; }

# show_progress TEXT: one line redrawn on a terminal, and a line every few seconds elsewhere.
show_progress() {
  if [[ -t 1 ]]; then
    printf '\r\033[K       history: %s' "$1"
  elif ((SECONDS >= NEXT_LINE)); then
    note "history: $1"
    NEXT_LINE=$((SECONDS + 5))
  fi
}
end_progress() { [[ ! -t 1 ]] || printf '\r\033[K'; }

# read_newest: fills CANDLE, FEATURES and HISTORY; waits a little for the first rows of a new deployment, and
# shows meanwhile how far the history is. It goes on loading afterwards: nothing here waits for all of it.
read_newest() {
  local deadline=$((SECONDS + 60)) lines='' progress
  CANDLE='' FEATURES='' HISTORY='' NEXT_LINE=$SECONDS
  while :; do
    lines=$(newest_rows 2>.local/logs/newest.log) || true
    CANDLE=$(sed -n $'s/^candle\t//p' <<<"$lines")
    HISTORY=$(sed -n $'s/^history\t//p' <<<"$lines")
    FEATURES=$(sed -n $'s/^features\t//p' <<<"$lines")
    progress=$(sed -n $'s/^progress\t//p' <<<"$lines")
    [[ -z $CANDLE || -z $FEATURES ]] || break
    ((SECONDS < deadline)) || break
    show_progress "${progress:-not known yet}"
    sleep 1
  done
  end_progress
}

# backup_text: the newest one, or when the first is due.
backup_text() {
  local newest
  newest=$(newest_backup)
  if [[ -n $newest ]]; then
    echo "$(setting BACKUP_DIR)/$newest, $(duration "$(backup_age)") ago"
  else
    echo "none yet; one is taken every night at 01:00 UTC (now: deploy/backup.sh)"
  fi
}
backup_log='docker compose logs backup'
[[ $ENGINE == docker ]] || backup_log=.local/logs/backup.log

step "Reading the newest rows"
read_newest
host=$(setting DB_HOST)
! bundled_database || host=$(reachable_address)
printf '\n'
row SERVICE ADDRESS STATUS
rows=$(service_rows)
printf '%s\n' "$rows"
printf '\n'
row connection "postgresql://$(setting DB_USER)@$host:$(setting DB_PORT)/$(setting DB_NAME)"
row '' "password: DB_PASSWORD in .env; models read as mlreader (MLREADER_PASSWORD)"
[[ $ENGINE != docker ]] || row 'pgAdmin login' "admin@example.com, password: PGADMIN_PASSWORD in .env"
row 'newest candle' "${CANDLE:-none yet}"
row 'newest feature row' "${FEATURES:-none yet}"
row history "${HISTORY:-not known yet}"
! bundled_database || row backup "$(backup_text)"
printf '\n'
useful_commands | while IFS= read -r line; do printf '  %s\n' "$line"; done

if bundled_database && (($(backup_age) > 172800)); then
  note "Warning: the newest backup is $(duration "$(backup_age)") old. deploy/backup.sh takes one; why there was none: $backup_log"
fi

# Healthy a moment ago and not now: a program that ends again and again, for a reason its log has.
if grep -qvE ' (healthy|not run in local mode)$' <<<"$rows"; then
  printf '\n' >&2
  fail "Not every service is healthy: see the table above, and the logs of what is not."
fi

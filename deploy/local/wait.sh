# up.py has waited already; what the summary shows of local mode.

service_rows() {
  local name address state
  while IFS=$'\t' read -r name address state; do row "$name" "$address" "$state"; done < <(.local/venv/bin/python deploy/local/status.py)
  row pgadmin - "not run in local mode"
}

newest_rows() { .local/venv/bin/python deploy/local/newest_rows.py; }

useful_commands() {
  cat <<'COMMANDS'
logs     .local/bin/logs [data-feeder]   in place of docker compose logs -f
SQL      .local/bin/psql                 in place of docker compose exec timescaledb psql
state    .local/bin/status               in place of docker compose ps
history  .local/bin/history --watch      how whole it is, a bar a symbol
backup   deploy/backup.sh                one now; every night by itself
stop     ./cleanup.sh
COMMANDS
}

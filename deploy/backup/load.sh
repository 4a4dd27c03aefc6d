#!/bin/sh
# Restores: `load.sh whole BACKUP`, or `load.sh table BACKUP TABLE [replace]`; `load.sh holds` says what the
# database in use holds, `load.sh check BACKUP` whether this server can restore a backup. POSIX sh; runs where the database's tools are, as take.sh does. People call
# deploy/restore.sh.
#
# The archive always goes into a database beside the one in use. Until that is whole, nothing else changes.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/backup/archive.sh
. "$here/archive.sh"
mode=$1 backup=$BACKUP_FOLDER/${2:-}
side=${PGDATABASE}_restoring former=${PGDATABASE}_before_restore

say() { printf '       %s\n' "$*"; }
refuse() {
  printf '  x %s\n' "$*" >&2
  exit 1
}
ask() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

# drop NAME: TimescaleDB's scheduler may be just connecting.
drop() {
  for _ in 1 2 3 4 5 6 7 8 9; do
    if ask -d postgres -c "DROP DATABASE IF EXISTS \"$1\" WITH (FORCE)" 2>/dev/null; then return; fi
    sleep 0.3
  done
  ask -d postgres -c "DROP DATABASE IF EXISTS \"$1\" WITH (FORCE)"
}

# check_server: what this server cannot restore is said before anything is made.
check_server() {
  version=$(manifest "$backup" timescaledb)
  server=$(($(ask -d postgres -c 'SHOW server_version_num') / 10000))
  [ "$(manifest "$backup" postgres)" -le "$server" ] ||
    refuse "The backup is of PostgreSQL $(manifest "$backup" postgres), and this server is $server: it cannot read a newer one's."
  if [ -n "$version" ] && ! ask -d postgres -v version="$version" -f "$here/extension_available.sql" | grep -qx t; then
    refuse "The backup is of TimescaleDB $version, which this server does not have. Restore it with that version" \
      "(its image in docker-compose.yml), and upgrade afterwards."
  fi
  # Nothing is known of the edition where the database in use has no extension yet; `load` asks again.
  if [ "$(manifest "$backup" server_kind)" = community ] && ask -f "$here/license.sql" | grep -qx apache; then
    refuse "The backup is of TimescaleDB's community edition, and this server is not: it cannot read compressed chunks."
  fi
}

load() {
  drop "$side"
  # template0: template1 may hold an extension of another version already.
  ask -d postgres -c "CREATE DATABASE \"$side\" TEMPLATE template0"
  # Roles are the cluster's, not the database's. `migrate` gives this one its password.
  ask -d postgres -f "$here/reader.sql"
  if [ -n "$version" ]; then
    ask -d "$side" -c "CREATE EXTENSION timescaledb VERSION '$version'" 2>/dev/null ||
      refuse "TimescaleDB $version cannot be created here."
    # Known only where the extension is.
    if [ "$(manifest "$backup" server_kind)" = community ] && ! ask -d "$side" -f "$here/license.sql" | grep -qx timescale; then
      refuse "The backup is of TimescaleDB's community edition, and this server is not: it cannot read compressed chunks."
    fi
    ask -d "$side" -c 'SELECT timescaledb_pre_restore()' >/dev/null
  fi
  pg_restore --no-owner --exit-on-error --dbname="$side" "$backup/database.dump"
  [ -z "$version" ] || ask -d "$side" -c 'SELECT timescaledb_post_restore()' >/dev/null
  # The dump's snapshot is a moment younger than the manifest.
  [ "$(ask -d "$side" -c 'SELECT count(*) FROM candles_1m')" -ge "$(manifest "$backup" candles)" ] ||
    refuse "Candles are missing after the restore; the database in use has not been touched."
}

# whole: the restored database takes the place of the one in use, in one transaction.
whole() {
  load
  ask -d "$side" -c ANALYZE
  say "Loaded and counted; putting it in place"
  drop "$former"
  for _ in 1 2 3 4 5 6 7 8 9; do
    stop_scheduler "$side"
    stop_scheduler "$PGDATABASE"
    if ask -d postgres -v database="$PGDATABASE" -v side="$side" -v former="$former" -f "$here/swap.sql" >/dev/null 2>&1; then
      # From here on the restore is done, and what fails is no reason to call it undone.
      [ -z "$version" ] || ask -c 'SELECT _timescaledb_functions.start_background_workers()' >/dev/null ||
        say "TimescaleDB's jobs do not run until the database is restarted"
      drop "$former" || say "The database of before is still there, as $former: drop it when it is of no use any more"
      return 0
    fi
    sleep 0.5
  done
  [ -z "$version" ] || ask -c 'SELECT _timescaledb_functions.start_background_workers()' >/dev/null
  drop "$side"
  refuse "The database could not be put in place: something keeps connecting to $PGDATABASE (a model, psql?). Stop it and restore again."
}

stop_scheduler() {
  ask -d "$1" -f "$here/stop_scheduler.sql" >/dev/null 2>&1 || true
}

table() {
  name=$1
  ask -v name="$name" -f "$here/is_table.sql" | grep -qx t ||
    refuse "$name is not a table that can be restored by itself. These are: $(ask -f "$here/tables.sql" | tr '\n' ' ')"
  [ "${2:-}" != replace ] || ask -c "DROP TABLE IF EXISTS public.${name}_restored" 2>/dev/null
  ask -c "SELECT to_regclass('public.${name}_restored') IS NULL" | grep -qx t ||
    refuse "${name}_restored exists, of an earlier restore. Drop it first: DROP TABLE ${name}_restored"
  load
  ask -d "$side" -v name="$name" -f "$here/is_table.sql" | grep -qx t || refuse "The backup has no table $name."
  # Columns that are younger than the backup keep their defaults.
  columns=$(ask -d "$side" -v name="$name" -f "$here/columns.sql")
  ask -v name="$name" -f "$here/side_table.sql"
  ask -d "$side" -c "COPY (SELECT $columns FROM $name) TO STDOUT" | ask -c "COPY ${name}_restored ($columns) FROM STDIN"
  rows=$(ask -d "$side" -c "SELECT count(*) FROM $name")
  if [ "$(ask -c "SELECT count(*) FROM ${name}_restored")" != "$rows" ]; then
    ask -c "DROP TABLE ${name}_restored"
    drop "$side"
    refuse "Rows of $name were lost on the way; $name has not been touched."
  fi
  drop "$side"
  if [ "${2:-}" = replace ]; then
    ask -v name="$name" -v columns="$columns" -f "$here/replace_table.sql" >/dev/null
    say "$name now holds the backup's $rows rows"
  else
    say "${name}_restored holds the backup's $rows rows; $name has not been touched. To use them:"
    say "  compare    SELECT * FROM ${name}_restored EXCEPT SELECT * FROM $name;"
    say "  replace    deploy/restore.sh $(basename "$backup") --table $name --replace"
    say "  forget     DROP TABLE ${name}_restored;"
  fi
}

if [ "$mode" = holds ]; then
  ask -f "$here/holds.sql"
  exit
fi
if [ "$mode" = check ]; then
  check_server
  exit
fi

clean_up() {
  code=$?
  [ "$code" = 0 ] || drop "$side" 2>/dev/null || true
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

check_server
shift 2
case $mode in
  whole) whole ;;
  table) table "$@" ;;
  *) refuse "usage: load.sh holds | check BACKUP | whole BACKUP | table BACKUP TABLE [replace]" ;;
esac

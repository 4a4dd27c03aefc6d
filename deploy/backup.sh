#!/usr/bin/env bash
# Takes a backup of the deployed database now, or shows the ones there are. See docs/operations.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source deploy/lib/console.sh
source deploy/lib/python.sh
source deploy/lib/settings.sh
source deploy/lib/compose.sh
source deploy/lib/backups.sh
PROGRAM=backup

usage() {
  cat <<'USAGE'
usage: deploy/backup.sh [--list | --verify BACKUP]

  (nothing)   takes a backup now; capture goes on. One is taken every night without being asked.
  --list      the backups there are, newest first
  --verify    whether a backup (a name of --list, or latest) is what it was when it was taken
USAGE
}

# list: every backup in the folder, of every mode.
list() {
  local name at
  printf '%-32s %10s %10s %12s  %-17s %s\n' BACKUP AGE MIB CANDLES 'NEWEST CANDLE' SCHEMA
  for name in $(backups_of "$FOLDER" '*' | sort -r); do
    at=$FOLDER/$name
    printf '%-32s %10s %10d %12s  %-17s %s\n' "$name" "$(duration $(($(date +%s) - $(manifest "$at" taken))))" \
      $(($(manifest "$at" bytes) / 1048576)) "$(manifest "$at" candles)" "$(manifest "$at" newest)" "$(manifest "$at" schema)"
  done
}

case ${1:-} in
  '') [[ $# == 0 ]] || fail "an empty argument" ;;
  --list) ;;
  --verify) (($# == 2)) || fail "--verify takes the name of a backup" ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    fail "unknown option $1"
    ;;
esac
load_deployment
case ${1:-} in
  --list) list ;;
  --verify)
    name=$2
    if [[ $name == latest ]]; then
      name=$(newest_backup)
      [[ -n $name ]] || fail "There is no backup of $EXCHANGE in $ENGINE mode in $FOLDER."
    fi
    [[ -s $FOLDER/$name/manifest ]] || fail "There is no backup $name in $FOLDER."
    is_intact "$FOLDER/$name" || fail "$name is damaged: its checksum is another one than when it was taken."
    step "$name is whole"
    ;;
  *)
    database_tool take.sh once || fail "No backup was taken; the reason is above."
    ;;
esac

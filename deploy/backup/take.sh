#!/bin/sh
# Takes backups: `take.sh once`, or `take.sh loop` for one a night; `prune` and `due` are its parts. POSIX sh; runs where the database's tools
# are, in the container `backup` or beside the local database, and finds the database in the PG* variables.
#
# A backup is a folder, named by UTC time, exchange and engine, with pg_dump's archive and a manifest. It
# appears under its name only when it is whole: dumped, read back to its end, and summed.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
folder=$BACKUP_FOLDER
kind=$BACKUP_EXCHANGE-$BACKUP_ENGINE
# shellcheck source=deploy/backup/archive.sh
. "$here/archive.sh"

# Seconds after UTC midnight: an hour before the nightly jobs.
AT=${BACKUP_AT:-3600}
DAY=86400
LOOK_SECONDS=60
RETRY_SECONDS=900

say() { printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"; }

# fault TEXT: why there is no backup, with the room there is, which is the usual reason.
fault() { say "backup failed: $* ($folder has $(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }') MiB free)" >&2; }

# Called in conditions alone, where `set -e` does nothing: every step says itself that it failed.
once() {
  [ -w "$folder" ] || {
    say "backup failed: $folder is not a folder that $(id -u) can write to (BACKUP_DIR)" >&2
    return 1
  }
  # What a run that was killed has left.
  find "$folder" -maxdepth 1 -name '.partial-*' -mtime +0 -exec rm -rf {} +
  partial=$(mktemp -d "$folder/.partial-XXXXXX") || {
    fault "no folder can be made in $folder"
    return 1
  }
  if dump "$partial"; then
    name=$(date -u +%Y%m%dT%H%M%SZ)-$kind
    while [ -e "$folder/$name" ]; do
      sleep 1
      name=$(date -u +%Y%m%dT%H%M%SZ)-$kind
    done
    mv "$partial" "$folder/$name" || {
      fault "it could not be given its name, $name"
      rm -rf "$partial"
      return 1
    }
    say "backup taken: $name, $(manifest "$folder/$name" bytes) bytes"
  else
    rm -rf "$partial"
    say "the backups taken before are as they were" >&2
    return 1
  fi
}

# dump DIRECTORY: the archive and its manifest. Reads one snapshot; nothing waits for it.
dump() {
  taken=$(date -u +%s)
  facts=$(psql -XqAt -v ON_ERROR_STOP=1 -f "$here/facts.sql") || {
    fault "the database cannot be asked what it holds"
    return 1
  }
  # TimescaleDB's catalogue refers to itself; pg_dump warns of that and its archive restores all the same.
  # Kept in memory: on a full disk there is no room for the reason either.
  said=$(pg_dump --format=custom --file="$1/database.dump" 2>&1) || {
    printf '%s\n' "$said" >&2
    fault "pg_dump could not write the archive"
    return 1
  }
  # Every block is read and unpacked: a list of contents alone would not notice a damaged one.
  pg_restore --file=/dev/null "$1/database.dump" || {
    fault "the archive cannot be read back"
    return 1
  }
  sum=$(sha256 "$1/database.dump") && [ -n "$sum" ] || {
    fault "the archive cannot be summed"
    return 1
  }
  {
    printf 'format=1\ntaken=%s\nengine=%s\nexchange=%s\n' "$taken" "$BACKUP_ENGINE" "$BACKUP_EXCHANGE" &&
      printf '%s\n' "$facts" &&
      printf 'bytes=%s\nsha256=%s\n' "$(wc -c <"$1/database.dump" | tr -d ' ')" "$sum"
  } >"$1/manifest" || {
    fault "the manifest could not be written"
    return 1
  }
}

# prune: deletes what is older than BACKUP_KEEP_DAYS, of this exchange and engine alone, and never the newest
# that still has its checksum.
prune() {
  newest_good=''
  for name in $(backups_of "$folder" "$kind" | sort -r); do
    if [ -z "$newest_good" ] && is_intact "$folder/$name"; then
      newest_good=$name
      continue
    fi
    age=$(($(date -u +%s) - $(manifest "$folder/$name" taken)))
    [ "$age" -gt $((BACKUP_KEEP_DAYS * DAY)) ] || continue
    [ -n "$newest_good" ] || continue
    # Out of sight first: half a backup never stands under a backup's name.
    doomed=$(mktemp -d "$folder/.partial-XXXXXX")
    mv "$folder/$name" "$doomed/"
    rm -rf "$doomed"
    say "backup deleted: $name, older than $BACKUP_KEEP_DAYS days"
  done
}

# is_due: whether none was taken since the last BACKUP_AT. A new deployment waits for its first night.
is_due() {
  now=$(date -u +%s)
  due=$((now - (now - AT) % DAY))
  newest=$(backups_of "$folder" "$kind" | sort | tail -n 1)
  if [ -n "$newest" ]; then
    since=$(manifest "$folder/$newest" taken)
  else
    [ -s "$folder/.since-$kind" ] || printf '%s\n' "$now" >"$folder/.since-$kind"
    since=$(cat "$folder/.since-$kind")
  fi
  [ "$since" -lt "$due" ]
}

# rest SECONDS: a sleep that a signal ends at once.
rest() {
  sleep "$1" &
  sleeper=$!
  wait "$sleeper"
}

loop() {
  sleeper=''
  trap 'kill "$sleeper" 2>/dev/null || true; exit 0' TERM INT
  say "a backup a night into $folder, at $(printf '%02d:%02d' $((AT / 3600)) $((AT % 3600 / 60))) UTC, kept for $BACKUP_KEEP_DAYS days"
  while :; do
    if ! is_due; then
      rest "$LOOK_SECONDS"
    elif once; then
      prune
    else
      rest "$RETRY_SECONDS"
    fi
  done
}

case ${1:-} in
  once) once && prune ;;
  loop) loop ;;
  prune) prune ;;
  due) is_due ;;
  *)
    echo "usage: take.sh once|loop|prune|due" >&2
    exit 2
    ;;
esac

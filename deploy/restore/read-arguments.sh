# The command line: which backup, all of it or one table, and whether what is there may go.

usage() {
  cat <<'USAGE'
usage: deploy/restore.sh BACKUP [--replace [--yes]]
       deploy/restore.sh BACKUP --table NAME [--replace [--yes]]

  BACKUP      a name of deploy/backup.sh --list, or latest
  --table     one table alone, into NAME_restored beside the one in use
  --replace   in the place of what the database (or the table) holds now
  --yes       without asking
USAGE
}

# ask_for TEXT: a yes, unless --yes has said it.
ask_for() {
  local answer=''
  [[ $YES == no ]] || return 0
  printf '%s Type yes to go on: ' "$1"
  read -r answer || true
  [[ $answer == yes ]] || fail "Nothing has been changed."
}

NAME='' TABLE='' REPLACE=no YES=no
while (($#)); do
  case $1 in
    --replace) REPLACE=yes ;;
    --yes | -y) YES=yes ;;
    --table)
      TABLE=${2:-}
      [[ $TABLE =~ ^[a-z_][a-z0-9_]*$ ]] || fail "--table takes the name of a table"
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    -*)
      usage >&2
      fail "unknown option $1"
      ;;
    *)
      [[ -z $NAME ]] || fail "one backup at a time: $NAME or $1"
      NAME=$(basename "$1")
      ;;
  esac
  shift
done
[[ -n $NAME ]] || {
  usage >&2
  fail "which backup?"
}

#!/usr/bin/env bash
# Runs the benchmarks in an environment of their own (.venv-benchmarks): [name...] [--json FILE] [--rounds N]
# [--quick] [--charts DIR]; --help lists them. TEST_DATABASE_URL names the server; else PostgreSQL is embedded.
set -euo pipefail
CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source deploy/lib/console.sh
source deploy/lib/python.sh
PROGRAM=benchmarks

ENVIRONMENT=.venv-benchmarks
python=$(host_python) || fail "Python 3.11 or later is needed."

# Help, and a name or an option that is wrong, before anything is installed.
for word in "$@"; do
  case $word in
    -h | --help) exec "$python" -B -m benchmarks --help ;;
  esac
done
asked=$("$python" -B -m benchmarks --names "$@") || exit

{
  make_environment "$ENVIRONMENT" requirements-benchmarks.lock
  install_packages "$ENVIRONMENT" --editable
} >&2

# install_peer NAME: an environment inside ours; a peer that cannot be had here is left out, and that is said.
install_peer() {
  local directory=$ENVIRONMENT/$1
  (make_environment "$directory" "benchmarks/peers/requirements-$1.lock") >&2 || {
    rm -rf "$directory"
    note "$1 is left out: it could not be installed here (some of its releases need a C compiler)." >&2
  }
}
if grep -qx peers <<<"$asked"; then
  install_peer cryptofeed
  install_peer freqtrade
fi

# Files named on the command line are where the caller is.
arguments=()
while (($#)); do
  case $1 in
    --json | --charts)
      arguments+=("$1")
      shift
      [[ $1 == /* ]] || set -- "$CALLED_FROM/$1" "${@:2}"
      ;;
    --json=[!/]* | --charts=[!/]*) set -- "${1%%=*}=$CALLED_FROM/${1#*=}" "${@:2}" ;;
  esac
  arguments+=("$1")
  shift
done
exec "$ENVIRONMENT/bin/python" -m benchmarks "${arguments[@]}"

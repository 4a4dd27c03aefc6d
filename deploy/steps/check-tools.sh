# The tools of the chosen engine, and their versions.

step "Checking tools, settings, disk, ports and exchange"
[[ -w . ]] || complain "This folder cannot be written to by $(id -un): deploy as its owner, or clone it somewhere of your own."
[[ ! -e .env || -r .env ]] || fail ".env cannot be read by $(id -un): deploy as the user who owns it ($(stat -c %U .env 2>/dev/null || echo another))."
if [[ $ENGINE == docker ]]; then
  if ! engine_answers || ! compose_is_new_enough; then
    fail "$(why_no_docker)" \
      "Start or install Docker (Engine with Compose v2.20 or later)$([[ $OLD_ENGINE != docker ]] || echo ': this deployment runs in it')." \
      "Or deploy without it: ./deploy.sh --local  (a deployment of its own; data is not carried over)"
  fi
  # Files that containers read by themselves must be readable by every user, whatever umask cloned them.
  for file in timescaledb/init.sql pgadmin/entrypoint.sh pgadmin/render.py pgadmin/password.py pgadmin/servers.json pgadmin/pgpass deploy/probe.py; do
    [[ $(ls -ld "$file") == ???????r* ]] || complain "$file must be readable by all, a container reads it: chmod a+rX -R pgadmin timescaledb deploy"
  done
else
  [[ -n $HOST_PYTHON ]] || fail "Local mode needs Python 3.11 or later, and none is in PATH." "On Debian and Ubuntu: apt-get install python3 python3-venv"
  [[ -x .local/venv/bin/python ]] || can_make_venv "$HOST_PYTHON" ||
    complain "$HOST_PYTHON can make no virtual environment. On Debian and Ubuntu: apt-get install python3-venv"
  case "$(uname -s)" in
    Linux | Darwin) ;;
    *) complain "Local mode runs on Linux and macOS, not on $(uname -s)." ;;
  esac
fi

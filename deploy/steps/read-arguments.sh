# The command line: which engine (docker or local) and which exchange (live or demo), if it says so.

usage() {
  cat <<'USAGE'
usage: ./deploy.sh [--docker | --local] [--demo | --live]

  --docker   run in Docker Compose
  --local    run as processes of this machine; needs Python 3.11 or later and nothing else
  --demo     simulate the exchange, in a database of its own
  --live     capture from the real exchange (after a demo; a first deployment is live)

Without an option a deployment keeps the mode it has; a first one uses Docker Compose where an engine
answers. Stop it with ./cleanup.sh.
USAGE
}

ASKED_ENGINE='' ASKED_EXCHANGE=''
for argument in "$@"; do
  case $argument in
    --docker | --local)
      [[ -z $ASKED_ENGINE || $ASKED_ENGINE == "${argument#--}" ]] || fail "--docker and --local exclude each other."
      ASKED_ENGINE=${argument#--}
      ;;
    --demo | --live)
      [[ -z $ASKED_EXCHANGE || $ASKED_EXCHANGE == "${argument#--}" ]] || fail "--demo and --live exclude each other."
      ASKED_EXCHANGE=${argument#--}
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "unknown option $argument"
      ;;
  esac
done

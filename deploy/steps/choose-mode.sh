# ENGINE (docker or local) and EXCHANGE (live or demo): asked for, else remembered, else what this machine has.
# OLD_ENGINE and OLD_EXCHANGE are what is deployed already, or empty.

MEMORY=.local/deployment
OLD_ENGINE=$(remembered engine)
OLD_EXCHANGE=$(remembered exchange)

EXCHANGE=${ASKED_EXCHANGE:-${OLD_EXCHANGE:-live}}
ENGINE=${ASKED_ENGINE:-$OLD_ENGINE}
if [[ -z $ENGINE ]]; then
  if engine_answers && compose_is_new_enough; then
    ENGINE=docker
  else
    ENGINE=local
    step "Docker Compose: $(why_no_docker). Deploying without Docker (--docker insists on it)."
  fi
fi

case $ENGINE-$EXCHANGE in
  docker-live) step "Mode: Docker Compose" ;;
  docker-demo) step "Mode: Docker Compose, simulated exchange (--demo)" ;;
  local-live) step "Mode: local processes" ;;
  local-demo) step "Mode: local processes, simulated exchange (--demo)" ;;
  *) fail "$MEMORY is damaged: it names the mode '$ENGINE-$EXCHANGE'." "Pass the mode explicitly, e.g. ./deploy.sh --docker --live" ;;
esac
# Whoever has an engine by now may have expected it.
[[ -n $ASKED_ENGINE || $OLD_ENGINE != local ]] ||
  note "as deployed here before; --docker changes to Docker Compose, which has a database of its own"
# deploy/configuration.py has to know: a demo's database is its own, whatever DB_HOST says.
export DEPLOY_DEMO=''
[[ $EXCHANGE != demo ]] || DEPLOY_DEMO=yes
HOST_PYTHON=$(helper_python || true)

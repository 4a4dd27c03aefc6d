# The containers and networks of this checkout's Compose project; its volumes and images with --purge.

# our_containers: this project's containers that this folder made.
our_containers() {
  docker ps --all --quiet --filter "label=com.docker.compose.project.working_dir=$PWD" --filter label=com.docker.compose.project
}

# remove_volumes: what is left of this project's. A demo's files put another volume in the place of the real
# database's, so Compose, given all files, knows one of the two only.
remove_volumes() {
  local volume
  docker volume ls --quiet --filter "label=com.docker.compose.project=$(project_name)" |
    while IFS= read -r volume; do docker volume rm "$volume" >>.local/cleanup.log; done
}

stop_docker() {
  engine_answers || {
    [[ $(remembered engine) != docker ]] || fail "This deployment runs in Docker, and no engine answers."
    return 0
  }
  [[ $(remembered engine) == docker || -f .local/used-docker || -n $(our_containers) ]] || return 0
  local options=(--remove-orphans --timeout 60)
  [[ $PURGE == no ]] || options+=(--volumes --rmi local)
  step "Stopping the containers"
  mkdir -p .local
  all_files down "${options[@]}" >.local/cleanup.log 2>&1 || {
    cat .local/cleanup.log >&2
    fail "docker compose down failed; its output is above."
  }
  [[ $PURGE == no ]] || remove_volumes
}
stop_docker

# Images: ours are built (in seconds where nothing changed), the others are pulled where they are absent.

set_compose_files
mkdir -p .local/logs

# quietly LOG COMMAND…: runs it with its output in a file, which is shown where it fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    fail "this failed: $*" "All of its output: $log"
  }
}

pull_images() {
  local image
  for image in $(compose_plain config --images | grep -E '^(timescale/|dpage/)'); do
    if docker image inspect "$image" >/dev/null 2>&1; then continue; fi
    step "Pulling $image"
    quietly .local/logs/pull.log docker pull --quiet "$image"
  done
}
pull_images
step "Building the services' images"
quietly .local/logs/build.log compose build

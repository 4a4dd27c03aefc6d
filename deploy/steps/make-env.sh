# .env: made from .env.example with strong random secrets, or its empty secrets filled. Otherwise untouched.

make_env() {
  local text status=0
  [[ ! -e .env || -n $(looked_at missing) ]] || return 0
  text=$(helper deploy/configuration.py new-env && printf x) || status=$?
  case $status in
    3) return ;;
    0) ;;
    *) fail ".env could not be made." ;;
  esac
  if [[ -e .env ]]; then
    step "Filling empty secrets in .env"
    # Through the file itself, so that its owner, mode and links stay.
    printf '%s' "${text%x}" >.env
  else
    step "Making .env with new random secrets (readable by this user alone)"
    (umask 077 && printf '%s' "${text%x}" >.env.new && mv .env.new .env)
  fi
}
make_env

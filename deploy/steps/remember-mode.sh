# A deployment remembers its mode. Where the mode changes, what runs in the old one is stopped; its data stays.

if [[ -n $OLD_ENGINE && $OLD_ENGINE != "$ENGINE" ]]; then
  step "Stopping what runs in $OLD_ENGINE mode (its data stays there)"
  if [[ $OLD_ENGINE == docker ]] && engine_answers; then
    EXCHANGE=$OLD_EXCHANGE set_compose_files
    compose down --remove-orphans --timeout 30 >/dev/null 2>&1 || fail "docker compose down failed; ./cleanup.sh says more."
  elif [[ $OLD_ENGINE == local && -x .local/venv/bin/python ]]; then
    .local/venv/bin/python deploy/local/down.py
  fi
fi

mkdir -p .local
! bundled_database || make_backup_folder
# cleanup.sh stops containers even after a change to local mode.
[[ $ENGINE != docker ]] || touch .local/used-docker
if [[ $OLD_ENGINE != "$ENGINE" || $OLD_EXCHANGE != "$EXCHANGE" ]]; then
  printf 'engine=%s\nexchange=%s\n' "$ENGINE" "$EXCHANGE" >.local/deployment.new
  mv .local/deployment.new .local/deployment
fi

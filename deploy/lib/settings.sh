# What the shell steps know: the deployment's memory, and every setting that is no secret.

# remembered engine|exchange: what .local/deployment says, or nothing.
remembered() {
  [[ ! -f .local/deployment ]] || sed -n "s/^$1=\\([a-z]*\\)\$/\\1/p" .local/deployment
}

# look_at_settings: all that deploy/configuration.py finds, at once: each look starts an interpreter. Fails where
# there are problems. Settings never contain a line end.
look_at_settings() {
  local status=0
  LOOKED=$(helper deploy/configuration.py look) || status=$?
  SETTINGS=$(looked_at setting)
  return "$status"
}

# looked_at problem|warning|setting|missing: what was found, a line each. `missing` names secrets.
looked_at() { sed -n "s/^$1"$'\t//p' <<<"$LOOKED"; }

# setting NAME: its value, default filled in.
setting() {
  local line
  while IFS= read -r line; do
    if [[ $line == "$1="* ]]; then
      printf '%s' "${line#*=}"
      return
    fi
  done <<<"$SETTINGS"
}

bundled_database() { [[ $(setting DB_HOST) == timescaledb ]]; }

# reachable_address: the address under which this machine reaches what is published on BIND_ADDRESS.
reachable_address() {
  local address
  address=$(setting BIND_ADDRESS)
  case $address in
    0.0.0.0) printf 127.0.0.1 ;;
    :: | '[::]') printf '[::1]' ;;
    *:*) printf '[%s]' "$(tr -d '[]' <<<"$address")" ;;
    *) printf '%s' "$address" ;;
  esac
}

# What the shell steps know: the deployment's memory, and every setting that is no secret.

# remembered engine|exchange: what .local/deployment says, or nothing.
remembered() {
  [[ ! -f .local/deployment ]] || sed -n "s/^$1=\\([a-z]*\\)\$/\\1/p" .local/deployment
}

# load_settings: reads the checked settings once. They never contain a line end.
load_settings() {
  SETTINGS=$(helper deploy/configuration.py show)
}

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

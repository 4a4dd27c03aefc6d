# The exchange must answer before a first start, and is never the simulator: that is what a demo is for. What
# runs already looks after an exchange that is out of reach by itself.

check_exchange() {
  local found code=0 line
  found=$(helper deploy/exchange.py "$(setting BINANCE_API_URL)" "$(setting BINANCE_STREAM_URL)" "$(setting SYMBOLS)") || code=$?
  if ((code == 0)) || { ((code < 3)) && [[ $OLD_ENGINE-$OLD_EXCHANGE == "$ENGINE-live" ]]; }; then
    return 0
  fi
  if ((code == 4)); then
    complain "$found"
    return 0
  fi
  complain "The exchange cannot be used from here."
  while IFS= read -r line; do printf '    %s\n' "$line" >&2; done <<<"$found"
}
[[ $EXCHANGE == demo ]] || check_exchange

# .env and the environment: unknown names, malformed values, placeholders and clashing ports, all at once.

if ! look_at_settings; then
  complain_lines < <(looked_at problem)
  # What follows would only repeat these in other words.
  ((PROBLEMS)) || fail "The settings could not be read."
  finish_checks
fi
while IFS= read -r line; do
  note "Warning: $line"
done < <(looked_at warning)

# A demo's exchange and database are those of one feeder, which has to bring all symbols.
if [[ $EXCHANGE == demo ]]; then
  shard=$(setting SHARD)
  [[ ${shard#*/} == 1 ]] || complain "SHARD=$shard: a demo has one feeder, and nobody would capture the other symbols. Take SHARD out of .env for it, or deploy with --live."
  [[ $ENGINE != docker || ! -f $MORE_FEEDERS ]] || complain "$MORE_FEEDERS: a demo has one feeder. Move the file away for it, or deploy with --live."
elif [[ $ENGINE == local && -f $MORE_FEEDERS ]]; then
  note "Warning: $MORE_FEEDERS is for Docker; here runs one feeder. For another: a further checkout (docs/scaling.md)."
fi

# Compose reads a port mapping's IPv6 address in brackets alone; local mode takes both forms.
case $ENGINE-$(setting BIND_ADDRESS) in
  docker-\[*\]) ;;
  docker-*:*) complain "BIND_ADDRESS: write an IPv6 address in brackets, e.g. [::1]" ;;
esac

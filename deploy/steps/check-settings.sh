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

# Compose reads a port mapping's IPv6 address in brackets alone; local mode takes both forms.
case $ENGINE-$(setting BIND_ADDRESS) in
  docker-\[*\]) ;;
  docker-*:*) complain "BIND_ADDRESS: write an IPv6 address in brackets, e.g. [::1]" ;;
esac

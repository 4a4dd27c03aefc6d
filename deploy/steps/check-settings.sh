# .env and the environment: unknown names, malformed values, placeholders and clashing ports, all at once.

if ! problems=$(helper deploy/configuration.py check); then
  complain_lines <<<"$problems"
  # What follows would only repeat these in other words.
  finish_checks
fi
load_settings
while IFS= read -r line; do
  [[ -z $line ]] || note "Warning: $line"
done < <(helper deploy/configuration.py warnings)

# Compose reads a port mapping's IPv6 address in brackets alone; local mode takes both forms.
case $ENGINE-$(setting BIND_ADDRESS) in
  docker-\[*\]) ;;
  docker-*:*) complain "BIND_ADDRESS: write an IPv6 address in brackets, e.g. [::1]" ;;
esac

# How the steps speak: one line a step with the seconds since the start, and one way to give up.

step() { printf '[%3ds] %s\n' "$SECONDS" "$*"; }
note() { printf '       %s\n' "$*"; }

# complain TEXT: one line of a failed check. finish_checks ends the run if there were any.
PROBLEMS=0
complain() {
  printf '  x %s\n' "$*" >&2
  PROBLEMS=$((PROBLEMS + 1))
}

# complain_lines: one problem a line from standard input.
complain_lines() {
  local line
  while IFS= read -r line; do [[ -z $line ]] || complain "$line"; done
}

PROGRAM=deploy
fail() {
  printf '%s: %s\n' "$PROGRAM" "$1" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  exit 1
}

finish_checks() {
  ((PROBLEMS == 0)) || fail "$PROBLEMS problem(s) found; nothing has been changed."
}

# What a folder of backups holds. Sourced by programs in POSIX sh and in bash.

# manifest DIRECTORY KEY: a value of a backup's manifest, or nothing.
manifest() { sed -n "s/^$2=//p" "$1/manifest" 2>/dev/null | head -n 1; }

# backups_of FOLDER KIND: names of the whole backups of one exchange and engine, e.g. live-docker; '*' is all.
backups_of() {
  # shellcheck disable=SC2231 # the kind may be a pattern
  for candidate in "$1"/[0-9]*T[0-9]*Z-$2; do
    [ ! -s "$candidate/manifest" ] || [ ! -f "$candidate/database.dump" ] || basename "$candidate"
  done
}

sha256() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum "$1" | cut -d ' ' -f 1
  else
    shasum -a 256 "$1" | cut -d ' ' -f 1
  fi
}

is_intact() { [ "$(sha256 "$1/database.dump")" = "$(manifest "$1" sha256)" ]; }

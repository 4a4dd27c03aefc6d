# Finding a Python, running the deployment's own helpers on it, and making virtual environments.

PYTHON_IMAGE=python:3.13-slim-trixie

# host_python: prints the first Python 3.11 or later of this machine, as itself: what stands in PATH may be a
# script that looks for it anew each time.
host_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3 python; do
    if command -v "$name" >/dev/null 2>&1 &&
      "$name" -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)' 2>/dev/null; then
      return
    fi
  done
  return 1
}

# helper_python: prints the Python that runs deploy's own programs: that of the local installation where it is
# whole, which needs no looking for, else the machine's.
helper_python() {
  if environment_is_current .local/venv requirements-local.lock; then
    echo "$PWD/.local/venv/bin/python"
  else
    host_python
  fi
}

# helper SCRIPT ARG…: runs one of deploy's standard-library programs, in a container where the host has no
# Python of its own. Known settings of the environment go along; the repository is read-only there.
helper() {
  if [[ -n ${HOST_PYTHON:-} ]]; then
    PYTHONDONTWRITEBYTECODE=1 "$HOST_PYTHON" "$@"
    return
  fi
  local names=(-e DEPLOY_DEMO) name
  while IFS= read -r name; do
    [[ -z ${!name:-} ]] || names+=(-e "$name")
  done < <(sed -nE 's/^ *Setting\("([A-Z_]+)".*/\1/p' shared/marketdata/settings.py)
  docker run --rm --network host --user "$(id -u):$(id -g)" -e PYTHONDONTWRITEBYTECODE=1 "${names[@]}" \
    --volume "$PWD:/repository:ro" --workdir /repository "$PYTHON_IMAGE" python3 "$@"
}

# digest FILE…: one hash over the names and contents of files.
digest() { cksum "$@" | cksum | tr -d ' \n'; }

# make_environment DIRECTORY LOCK: a virtual environment with exactly what the lock says. Does nothing where
# that is already so.
make_environment() {
  local directory=$1 lock=$2 python
  ! environment_is_current "$directory" "$lock" || return 0
  python=$(host_python) || fail "Python 3.11 or later is needed."
  step "Installing $lock into $directory (hash-checked)"
  rm -rf "$directory"
  mkdir -p "$directory"
  make_venv "$python" "$directory"
  local log=$directory/pip.log
  # Not compiled now: what is imported is compiled then, and that is a fraction of it.
  "${VENV_PIP[@]}" install --disable-pip-version-check --quiet --no-compile --require-hashes -r "$lock" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "pip could not install $lock; its output is above."
  }
  digest "$lock" >"$directory/.lock-installed"
}

# environment_is_current DIRECTORY LOCK: whether it holds what the lock says, and works. A newer Python on this
# machine is no reason to replace an environment that works.
environment_is_current() {
  [[ $(cat "$1/.lock-installed" 2>/dev/null) == "$(digest "$2")" ]] && "$1/bin/python" -c '' >/dev/null 2>&1
}

# make_venv PYTHON DIRECTORY: leaves the command that installs into it in VENV_PIP. Debian without
# python3-venv has no ensurepip; the system's pip does as well there.
make_venv() {
  local python=$1 directory=$2
  if "$python" -c 'import ensurepip' >/dev/null 2>&1 && "$python" -m venv "$directory" >/dev/null 2>&1; then
    VENV_PIP=("$directory/bin/python" -m pip)
  elif "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$directory"; then
    VENV_PIP=("$python" -m pip --python "$directory/bin/python")
  else
    fail "This Python can make no virtual environment with pip in it." \
      "On Debian and Ubuntu: apt-get install python3-venv"
  fi
}

# can_make_venv PYTHON: whether make_venv would succeed, without changing anything.
can_make_venv() {
  "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 || "$1" -c 'import pip, venv' >/dev/null 2>&1
}

# install_packages DIRECTORY [--editable]: our four packages, without looking anything up.
install_packages() {
  local directory=$1 mode=${2:-} stamp copies package
  stamp=$(packages_stamp "$directory" "$mode")
  [[ $(cat "$directory/.packages-installed" 2>/dev/null) != "$stamp" ]] || return 0
  step "Installing the services"
  copies=$(mktemp -d)
  if [[ $mode == --editable ]]; then
    packages=(-e ./shared -e ./data-feeder -e ./gap-handler -e ./exchange-simulator)
  else
    # Built from copies: setuptools leaves its work beside the sources, and stale work gets installed.
    for package in shared data-feeder gap-handler exchange-simulator; do
      cp -R "$package" "$copies/$package"
      rm -rf "$copies/$package/build"
    done
    packages=("$copies/shared" "$copies/data-feeder" "$copies/gap-handler" "$copies/exchange-simulator")
  fi
  [[ -n ${VENV_PIP+set} ]] || VENV_PIP=("$directory/bin/python" -m pip)
  "${VENV_PIP[@]}" --version >/dev/null 2>&1 || VENV_PIP=("$(host_python)" -m pip --python "$directory/bin/python")
  "${VENV_PIP[@]}" install --disable-pip-version-check --quiet --no-build-isolation --no-deps --force-reinstall \
    "${packages[@]}" >"$directory/pip.log" 2>&1 || {
    tail -n 20 "$directory/pip.log" >&2
    rm -rf "$copies"
    fail "pip could not install the services; its output is above."
  }
  rm -rf "$copies"
  printf '%s' "$stamp" >"$directory/.packages-installed"
}

# packages_stamp DIRECTORY MODE: what tells one installation of our packages from another.
packages_stamp() {
  local sources
  sources=$(find shared data-feeder gap-handler exchange-simulator -type f \
    \( -name '*.py' -o -name '*.sql' -o -name '*.toml' \) -not -path '*/build/*' | LC_ALL=C sort)
  if [[ $2 == --editable ]]; then
    sources=$(grep 'pyproject.toml$' <<<"$sources")
  fi
  # shellcheck disable=SC2086 # our own paths hold no spaces
  echo "$2 $(cat "$1/.lock-installed") $(digest $sources)"
}

#!/usr/bin/env bash
# Runs the tests in an environment of their own (.venv); the arguments go to pytest, e.g. ./test.sh -m promise
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

source deploy/lib/console.sh
source deploy/lib/python.sh

make_environment .venv requirements-dev.lock
install_packages .venv --editable
exec .venv/bin/python -m pytest "$@"

#!/usr/bin/env bash
# Makes the lock files anew from requirements*.in (needs uv). Pass --upgrade for newer versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export UV_CUSTOM_COMPILE_COMMAND=deploy/lock.sh
lock() { uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --quiet "$@"; }

# The development lock holds nearly everything, so one resolution serves them all but the peers, who have
# environments of their own.
lock requirements-dev.in --output-file requirements-dev.lock "$@"
lock requirements-local.in --constraint requirements-dev.lock --output-file requirements-local.lock
lock requirements.in --constraint requirements-dev.lock --output-file requirements.lock
lock requirements-research.in --constraint requirements-dev.lock --output-file requirements-research.lock
lock requirements-benchmarks.in --constraint requirements-dev.lock --output-file requirements-benchmarks.lock
for peer in cryptofeed freqtrade; do
  lock "benchmarks/peers/requirements-$peer.in" --output-file "benchmarks/peers/requirements-$peer.lock"
done

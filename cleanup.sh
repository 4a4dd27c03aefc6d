#!/usr/bin/env bash
# Stops what deploy.sh started and keeps the data; --purge deletes the data too. Touches nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

source deploy/lib/console.sh
source deploy/lib/python.sh
source deploy/lib/settings.sh
source deploy/lib/compose.sh

source deploy/cleanup/read-arguments.sh
source deploy/cleanup/ask.sh
source deploy/cleanup/stop-docker.sh
source deploy/cleanup/stop-local.sh

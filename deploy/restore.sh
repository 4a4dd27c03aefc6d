#!/usr/bin/env bash
# Puts a backup, or one table of it, back into the deployed database. See docs/operations.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source deploy/lib/console.sh
source deploy/lib/python.sh
source deploy/lib/settings.sh
source deploy/lib/compose.sh
source deploy/lib/backups.sh
PROGRAM=restore

source deploy/restore/read-arguments.sh
load_deployment
source deploy/restore/check-backup.sh
if [[ -n $TABLE ]]; then
  source deploy/restore/table.sh
else
  source deploy/restore/whole.sh
fi

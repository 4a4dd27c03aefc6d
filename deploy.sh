#!/usr/bin/env bash
# Deploys the market-data platform, checks first, and says where everything is. See docs/deployment.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

source deploy/lib/console.sh
source deploy/lib/python.sh
source deploy/lib/settings.sh
source deploy/lib/compose.sh
source deploy/lib/backups.sh

# What is to be done.
source deploy/steps/read-arguments.sh
source deploy/steps/choose-mode.sh

# Checks. Up to the end of this block nothing is changed.
source deploy/steps/check-tools.sh
source deploy/steps/check-settings.sh
source deploy/steps/check-disk.sh
source deploy/steps/check-ports.sh
source deploy/steps/check-existing.sh
source deploy/steps/check-database.sh
source deploy/steps/check-exchange.sh
finish_checks

# Impact.
source deploy/steps/make-env.sh
source deploy/steps/remember-mode.sh
# shellcheck source=/dev/null
source "deploy/$ENGINE/install.sh"
# shellcheck source=/dev/null
source "deploy/$ENGINE/start.sh"
# shellcheck source=/dev/null
source "deploy/$ENGINE/wait.sh"
source deploy/steps/print-summary.sh

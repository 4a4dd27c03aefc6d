# The database, the migrations and the processes, under a supervisor; up.py prints the steps.

DEPLOY_BEGAN=$(($(date +%s) - SECONDS)) .local/venv/bin/python deploy/local/up.py "$EXCHANGE"

# The local processes; .local itself with --purge.

if [[ -x .local/venv/bin/python && -f .local/run/supervisord.conf ]]; then
  step "Stopping the local processes"
  .local/venv/bin/python deploy/local/down.py
fi
if [[ $PURGE == yes && -d .local ]]; then
  step "Deleting .local (data, logs and the local installation)"
  [[ ! -x .local/venv/bin/python ]] || PYTHONPATH=shared .local/venv/bin/python deploy/local/cluster.py purge
  rm -rf .local
fi
if [[ $PURGE == yes ]]; then
  step "Stopped, and all data deleted. .env and the backups (BACKUP_DIR) are kept."
else
  step "Stopped. The data is kept; ./deploy.sh continues, ./cleanup.sh --purge deletes it."
fi

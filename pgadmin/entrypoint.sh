#!/bin/sh
# Connects pgAdmin to the database before it starts: a password file from the environment (readable by
# pgAdmin alone, never in the repository) and the server list. Then it hands over to the image's own.
set -eu
PATH=/venv/bin:$PATH
export PATH
python3 /suite/render.py
[ -e /var/lib/pgadmin/pgadmin4.db ] || python3 /suite/password.py remember
# pgAdmin needs the file, not the password in its environment.
unset DB_PASSWORD
exec /entrypoint.sh "$@"

"""Becomes one of deploy/backup's programs, on the local database: ``database_tool.py SCRIPT [ARGUMENTS]``."""

from __future__ import annotations

import os
import sys

import places
import programs


def main(script: str, arguments: list[str]) -> None:
    """Run it with the nightly backups' own settings."""
    known = programs.load()
    if "backup" not in known:
        sys.exit("The database is not running: ./deploy.sh starts it.")
    path = str(places.BACKUP_PROGRAMS / script)
    os.execve("/bin/sh", ["/bin/sh", path, *arguments], {**os.environ, **known["backup"].environment})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

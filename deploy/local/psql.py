"""psql on the deployment's database, password included: ``.local/bin/psql [psql's arguments]``."""

from __future__ import annotations

import os
import sys

import cluster
import programs


def main(arguments: list[str]) -> None:
    """Become psql. The wheel's libpq has no TLS: a remote database that insists on TLS needs another."""
    values = programs.load()["data-feeder"].environment
    connection = {
        "PGHOST": values["DB_HOST"],
        "PGPORT": values["DB_PORT"],
        "PGDATABASE": values["DB_NAME"],
        "PGUSER": values["DB_USER"],
        "PGPASSWORD": values["DB_PASSWORD"],
        "PGTARGETSESSIONATTRS": "read-write" if "," in values["DB_HOST"] else "any",
    }
    program = str(cluster.wheel() / "bin" / "psql")
    os.execve(program, [program, *arguments], {**os.environ, **connection})


if __name__ == "__main__":
    main(sys.argv[1:])

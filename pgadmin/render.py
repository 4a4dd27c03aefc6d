"""Writes pgAdmin's connection files from the templates beside this file and the environment.

Runs inside pgAdmin's container, before pgAdmin: standard library only.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent


def first_host(environ: Mapping[str, str]) -> str:
    """Of several hosts pgAdmin shows the first."""
    return environ["DB_HOST"].split(",")[0]


def pgpass(template: str, environ: Mapping[str, str]) -> str:
    """The filled-in password file. In its fields ``:`` and the backslash are escaped (libpq's rule)."""
    values = {**environ, "DB_HOST": first_host(environ)}
    escaped = {name: value.replace("\\", "\\\\").replace(":", "\\:") for name, value in values.items()}
    lines = (line for line in template.splitlines() if line and not line.startswith("#"))
    return "".join(string.Template(line).substitute(escaped) + "\n" for line in lines)


def servers(template: str, environ: Mapping[str, str]) -> str:
    """The servers pgAdmin imports at its first start, pointed at the database that is in use."""
    document = json.loads(template)
    for server in document["Servers"].values():
        server["Host"] = first_host(environ)
        server["Port"] = int(environ["DB_PORT"])
        server["MaintenanceDB"] = environ["DB_NAME"]
        server["Username"] = environ["DB_USER"]
        server["SSLMode"] = environ.get("DB_SSLMODE") or "prefer"
    return json.dumps(document, indent=2)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at no moment otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


if __name__ == "__main__":
    storage = Path("/var/lib/pgadmin/storage") / os.environ["PGADMIN_DEFAULT_EMAIL"].replace("@", "_")
    write_private(storage / "pgpass", pgpass((HERE / "pgpass").read_text("utf-8"), os.environ))
    write_private(
        Path(os.environ["PGADMIN_SERVER_JSON_FILE"]),
        servers((HERE / "servers.json").read_text("utf-8"), os.environ),
    )

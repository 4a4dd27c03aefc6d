"""Says whether a database server can be reached: ``reach.py HOST PORT``. Prints the cause and exits 1 if not.

Of several hosts (``a,b``) one is enough. Standard library only.
"""

from __future__ import annotations

import socket
import sys

TIMEOUT_SECONDS = 8.0


def why_not(host: str, port: int) -> str:
    """The cause, or an empty string where something answers."""
    try:
        if host.startswith("/"):
            with socket.socket(socket.AF_UNIX) as local:
                local.settimeout(TIMEOUT_SECONDS)
                local.connect(f"{host}/.s.PGSQL.{port}")
        else:
            socket.create_connection((host.strip("[]"), port), TIMEOUT_SECONDS).close()
    except OSError as error:
        return str(error)
    return ""


def why_none(hosts: str, port: int) -> str:
    """The causes of all of ``hosts``, or an empty string where one answers."""
    causes = []
    for host in hosts.split(","):
        cause = why_not(host, port)
        if not cause:
            return ""
        causes.append(cause)
    return "; ".join(causes)


if __name__ == "__main__":
    reason = why_none(sys.argv[1], int(sys.argv[2]))
    print(reason, end="")
    sys.exit(1 if reason else 0)

"""Names the process that listens on a TCP port: ``port_holder.py PORT``. Prints nothing where it cannot know.

Linux's /proc only, so that a bare machine needs neither ss nor lsof. Standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path

_LISTEN = "0A"
_PROC = Path("/proc")


def holder(port: int, proc: Path = _PROC) -> str:
    """``name (pid N)`` of the listener, or an empty string."""
    sockets = _listening(port, proc)
    for process in proc.glob("[0-9]*") if sockets else ():
        try:
            if _holds(process, sockets):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""


def listens(pid: int, port: int, proc: Path = _PROC) -> bool:
    """Whether this very process is known to listen on the port."""
    try:
        return _holds(proc / str(pid), _listening(port, proc))
    except OSError:
        return False


def _listening(port: int, proc: Path) -> set[str]:
    """The sockets that listen on the port, as links to them read."""
    found = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _holds(process: Path, sockets: set[str]) -> bool:
    return bool(sockets) and any(str(link.readlink()) in sockets for link in (process / "fd").iterdir())


if __name__ == "__main__":
    print(holder(int(sys.argv[1])), end="")

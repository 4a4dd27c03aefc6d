"""Names the process that listens on a TCP port: ``port_holder.py PORT``. Prints nothing where it cannot know.

Linux's /proc only, so that a bare machine needs neither ss nor lsof. Standard library only.
"""

from __future__ import annotations

import sys
from pathlib import Path

_LISTEN = "0A"


def holder(port: int, proc: Path = Path("/proc")) -> str:
    """``name (pid N)`` of the listener, or an empty string."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in proc.glob("[0-9]*") if inodes else ():
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""


if __name__ == "__main__":
    print(holder(int(sys.argv[1])), end="")

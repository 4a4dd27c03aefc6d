"""Says whether this machine has an address: ``bindable.py ADDRESS``. Prints the cause and exits 1 if not.

An address of another machine would be noticed late otherwise: asking for its ports takes minutes to fail.
Standard library only.
"""

from __future__ import annotations

import os
import socket
import sys


def why_not(address: str) -> str:
    """The cause, or an empty string where this machine has the address, IPv6 with or without brackets."""
    bare = address.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.bind((bare, 0))
    except OSError as error:
        return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
    return ""


if __name__ == "__main__":
    reason = why_not(sys.argv[1])
    print(reason, end="")
    sys.exit(1 if reason else 0)

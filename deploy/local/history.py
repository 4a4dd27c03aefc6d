"""How whole the history is, of this deployment: ``.local/bin/history [--watch [SECONDS]]``."""

from __future__ import annotations

import os
import sys

import programs


def main(arguments: list[str]) -> None:
    """Become the gap-handler's ``status`` with the settings the gap-handler has."""
    settings = programs.load()["gap-handler"].environment
    command = [sys.executable, "-m", "gap_handler", "status", *arguments]
    os.execve(command[0], command, {**os.environ, **settings})


if __name__ == "__main__":
    main(sys.argv[1:])

"""Becomes one of the deployment's programs: ``launch.py NAME``. The supervisor runs everything through this.

It takes the program's environment from the private specifications, drops root's rights where the program
has an account of its own, and asks the kernel to end it together with the supervisor.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

import programs

_PR_SET_PDEATHSIG = 1


def _become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ["HOME"] = account.pw_dir
    os.chdir("/")


def _die_with_the_supervisor(how: signal.Signals) -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(how))


def main(name: str) -> None:
    """Replace this process by the program."""
    program = programs.load()[name]
    environment = {**os.environ, **program.environment, "PYTHONUNBUFFERED": "1"}
    os.umask(0o077)
    if program.user:
        _become(program.user)
        environment["HOME"] = os.environ["HOME"]
    # After the change of user, which would undo it. SIGINT is PostgreSQL's fast shutdown.
    _die_with_the_supervisor(signal.SIGINT if name == "timescaledb" else signal.SIGTERM)
    os.execve(program.argv[0], program.argv, environment)


if __name__ == "__main__":
    main(sys.argv[1])

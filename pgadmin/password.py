"""pgAdmin keeps the password of its first start; this gives it the one `.env` has now.

``password.py remember`` before pgAdmin's first start; ``password.py apply`` while it runs prints a line where
it changed something. Runs inside pgAdmin's container, with PGADMIN_DEFAULT_EMAIL and PGADMIN_DEFAULT_PASSWORD
in its environment: the password is in no command line. What was applied is remembered as a salted hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import runpy
import sys
from pathlib import Path

from render import write_private

STAMP = Path("/var/lib/pgadmin/.suite-password")
SETUP = Path("/pgadmin4/setup.py")


def stamp(password: str, salt: bytes) -> str:
    """``salt:hash`` in hexadecimal."""
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1).hex()}"


def is_applied(password: str, path: Path = STAMP) -> bool:
    """Whether this password is the one last applied; False where nothing is known."""
    if not path.exists():
        return False
    known = path.read_text(encoding="utf-8")
    return stamp(password, bytes.fromhex(known.partition(":")[0])) == known


def remember(password: str, path: Path = STAMP) -> None:
    """Keep what was applied."""
    write_private(path, stamp(password, os.urandom(16)))


def apply(email: str, password: str) -> str:
    """Have pgAdmin's own set-up change the password; its answer."""
    os.chdir(SETUP.parent)
    sys.path.insert(0, str(SETUP.parent))
    sys.argv = [str(SETUP), "update-user", email, "--password", password, "--role", "Administrator"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        runpy.run_path(str(SETUP), run_name="__main__")
    return said.getvalue()


def main(command: str) -> int:
    """Run one of the commands of the module's docstring."""
    email, password = os.environ["PGADMIN_DEFAULT_EMAIL"], os.environ["PGADMIN_DEFAULT_PASSWORD"]
    if command == "remember":
        remember(password)
        return 0
    if is_applied(password):
        return 0
    answer = apply(email, password)
    if email not in answer or "must be" in answer:
        print(f"pgAdmin keeps its former password: {' '.join(answer.split())[:300]}", file=sys.stderr)
        return 1
    remember(password)
    print("PGADMIN_PASSWORD has changed: pgAdmin has the new one")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

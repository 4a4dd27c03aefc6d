"""What the local deployment runs: one `Program` a process, with its command and its own environment.

The specifications are kept in a file only their owner can read. `launch` starts a program from it, so a
password is in no command line and in no supervisor configuration, and a second deployment can tell what
has changed.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import places

_SIMULATOR_PORTS = (9443, 9444)
ALLOCATOR = {"MALLOC_ARENA_MAX": "1"}
"""For glibc, as in deploy/Dockerfile: one heap for all threads. Each of its own keeps what it has freed."""


@dataclass(frozen=True)
class Program:
    """A process: ``user`` is the account it runs as where the deployment runs as root."""

    name: str
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    code: str = ""


def load() -> dict[str, Program]:
    """The specifications of the last deployment; empty before the first."""
    try:
        document = json.loads(places.SPECS.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: Program(**fields) for name, fields in document.items()}


def save(programs: list[Program]) -> None:
    """Keep the specifications for `launch` and for the next deployment."""
    places.write_private(
        places.SPECS, json.dumps({program.name: asdict(program) for program in programs}, indent=1)
    )


def connectable(address: str) -> str:
    """The address under which this machine reaches a socket bound to ``address``."""
    bare = address.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)


def in_url(address: str) -> str:
    """An address as URLs write it."""
    return f"[{address}]" if ":" in address else address


def service_environment(
    values: Mapping[str, str], simulator: tuple[int, int] | None, bundled: bool
) -> dict[str, str]:
    """The settings of our services, with what local mode and a demo put in place of what ``.env`` says."""
    here = connectable(values["BIND_ADDRESS"])
    environment = {
        name: value for name, value in values.items() if name not in ("PGADMIN_PASSWORD", "PGADMIN_PORT")
    }
    environment["BIND_ADDRESS"] = values["BIND_ADDRESS"].strip("[]")
    environment["GAP_HANDLER_URL"] = f"http://{in_url(here)}:{values['GAP_HANDLER_PORT']}"
    if bundled:
        environment["DB_HOST"] = here
        # The bundled server has no TLS to offer, and is on this very machine.
        environment["DB_SSLMODE"] = "disable"
    if simulator:
        environment["BINANCE_STREAM_URL"] = f"ws://127.0.0.1:{simulator[0]}"
        environment["BINANCE_API_URL"] = f"http://127.0.0.1:{simulator[1]}"
        environment["BINANCE_ARCHIVE_URL"] = environment["BINANCE_API_URL"]
    return environment


def simulator_ports(previous: Mapping[str, Program], runs: bool) -> tuple[int, int]:
    """Those the simulator has, or had and are free; else its own two where they are free; else any two.

    ``runs`` is whether our simulator runs at this moment. Where it does not, a port that is taken is somebody
    else's, perhaps another deployment's simulator, whose candles are not ours.
    """
    if "exchange-simulator" in previous:
        argv = previous["exchange-simulator"].argv
        known = int(argv[argv.index("--stream-port") + 1]), int(argv[argv.index("--http-port") + 1])
        if runs or all(_is_free(port) for port in known):
            return known
    if all(_is_free(port) for port in _SIMULATOR_PORTS):
        return _SIMULATOR_PORTS
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def services(environment: Mapping[str, str], simulator: tuple[int, int] | None, code: str) -> list[Program]:
    """Our own processes, in the order they start."""
    python = str(places.VENV / "bin" / "python")
    # `migrate` alone needs the models' password.
    common = {name: value for name, value in environment.items() if name != "MLREADER_PASSWORD"}
    common |= ALLOCATOR
    programs = []
    if simulator:
        argv = [python, "-m", "exchange_simulator", "--host", "127.0.0.1"]
        argv += ["--stream-port", str(simulator[0]), "--http-port", str(simulator[1])]
        argv += ["--symbols", environment["SYMBOLS"], "--history-days", environment["HISTORY_DAYS"]]
        argv += ["--seed", "7"]
        programs.append(Program("exchange-simulator", argv, {}, None, code))
    programs.append(Program("data-feeder", [python, "-m", "data_feeder"], common, None, code))
    programs.append(Program("gap-handler", [python, "-m", "gap_handler"], common, None, code))
    return programs


def backup(environment: Mapping[str, str], exchange: str, tools: Path) -> Program:
    """The nightly backups of the bundled database; ``tools`` holds pg_dump."""
    scripts = sorted(places.BACKUP_PROGRAMS.iterdir())
    code = hashlib.sha256(b"".join(path.read_bytes() for path in scripts)).hexdigest()
    own = {
        "PGHOST": environment["DB_HOST"],
        "PGPORT": environment["DB_PORT"],
        "PGDATABASE": environment["DB_NAME"],
        "PGUSER": environment["DB_USER"],
        "PGPASSWORD": environment["DB_PASSWORD"],
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "BACKUP_FOLDER": str(places.ROOT / environment["BACKUP_DIR"]),
        "BACKUP_KEEP_DAYS": environment["BACKUP_KEEP_DAYS"],
        "BACKUP_ENGINE": "local",
        "BACKUP_EXCHANGE": exchange,
    }
    return Program("backup", ["/bin/sh", str(places.BACKUP_PROGRAMS / "take.sh"), "loop"], own, None, code)


def installed_code() -> str:
    """What tells one installation of our packages from another."""
    stamps = (places.VENV / ".packages-installed", places.VENV / ".lock-installed")
    return "|".join(_read(path) for path in stamps) + sys.version


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""

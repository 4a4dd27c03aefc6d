"""Talks to supervisord, which keeps the programs running, restarts them and rotates their logs."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterable
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

import places

_RUNNING_STATES = ("RUNNING", "STARTING")
_STOP_SECONDS = {"timescaledb": 60}
_LOG_BYTES, _LOG_BACKUPS = "10MB", 5


def configuration(names: Iterable[str]) -> str:
    """supervisord's configuration. It holds no secret; the programs' environments are elsewhere."""
    socket = places.control_socket()
    lines = [
        "[supervisord]",
        f"logfile={_quoted(places.LOGS / 'supervisord.log')}",
        f"logfile_maxbytes={_LOG_BYTES}",
        f"logfile_backups={_LOG_BACKUPS}",
        f"pidfile={_quoted(places.SUPERVISOR_PID)}",
        f"directory={_quoted(places.ROOT)}",
        "umask=077",
        *(["user=root"] if os.geteuid() == 0 else []),
        "",
        "[unix_http_server]",
        f"file={_quoted(socket)}",
        "chmod=0600",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        "",
        "[supervisorctl]",
        f"serverurl=unix://{_quoted(socket)}",
    ]
    for name in names:
        command = shlex.join(
            [str(places.VENV / "bin" / "python"), str(places.ROOT / "deploy/local/launch.py"), name]
        )
        lines += [
            "",
            f"[program:{name}]",
            f"command={_quoted(command)}",
            "autostart=false",
            "autorestart=true",
            "startsecs=2",
            "startretries=1000",
            f"stopsignal={'INT' if name == 'timescaledb' else 'TERM'}",
            f"stopwaitsecs={_STOP_SECONDS.get(name, 30)}",
            "redirect_stderr=true",
            f"stdout_logfile={_quoted(places.LOGS / f'{name}.log')}",
            f"stdout_logfile_maxbytes={_LOG_BYTES}",
            f"stdout_logfile_backups={_LOG_BACKUPS}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    """A value as supervisord's configuration reads it: the percent sign starts an expansion there."""
    return str(value).replace("%", "%%")


def _rpc() -> Any:
    transport = SupervisorTransport(None, None, f"unix://{places.control_socket()}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor


def is_running() -> bool:
    """Whether our supervisord answers."""
    try:
        return bool(_rpc().getState()["statecode"] == 1)
    except (OSError, xmlrpc.client.Error):
        return False


def start() -> None:
    """Start supervisord in the background, with no program running yet."""
    argv = [str(places.VENV / "bin" / "supervisord"), "-c", str(places.SUPERVISOR_CONFIG)]
    subprocess.run(
        argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 15
    while not is_running():
        if time.monotonic() > deadline:
            raise SystemExit(f"The supervisor did not start; see {places.LOGS / 'supervisord.log'}")
        time.sleep(0.05)


def shutdown() -> None:
    """Stop the programs, newest first, then supervisord itself. Returns when it is gone."""
    if not is_running():
        return
    for info in sorted(_rpc().getAllProcessInfo(), key=lambda info: -int(info["start"])):
        stop_program(info["name"])
    pid = int(_rpc().getPID())
    _rpc().shutdown()
    deadline = time.monotonic() + 90
    while _alive(pid):
        if time.monotonic() > deadline:
            raise SystemExit(
                f"The supervisor (pid {pid}) does not stop; see {places.LOGS / 'supervisord.log'}"
            )
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def look(name: str) -> tuple[str, int]:
    """supervisord's name of the program's state, e.g. RUNNING, BACKOFF, STOPPED, and its process id, or 0."""
    try:
        info = _rpc().getProcessInfo(name)
    except (OSError, xmlrpc.client.Error):
        return "STOPPED", 0
    return str(info["statename"]), int(info["pid"])


def state(name: str) -> str:
    """The program's state alone."""
    return look(name)[0]


def runs(name: str) -> bool:
    """Whether the program runs, or is just starting."""
    return state(name) in _RUNNING_STATES


def start_program(name: str) -> None:
    """Start it and return at once; whether it works is for health checks to say."""
    if not runs(name):
        _rpc().startProcess(name, False)


def stop_program(name: str) -> None:
    """Stop it, and wait until it has."""
    if state(name) not in ("STOPPED", "EXITED", "FATAL"):
        _rpc().stopProcess(name, True)

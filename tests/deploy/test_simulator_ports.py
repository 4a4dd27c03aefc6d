"""A local demo's simulator never gets ports that somebody else listens on."""

from __future__ import annotations

import socket

from tests.deploy.checkouts import free_ports

import programs


def remembered(stream: int, http: int) -> dict[str, programs.Program]:
    argv = ["python", "--stream-port", str(stream), "--http-port", str(http)]
    return {"exchange-simulator": programs.Program("exchange-simulator", argv)}


def test_free_ports_are_kept() -> None:
    stream, http = free_ports(2)
    assert programs.simulator_ports(remembered(stream, http), runs=False) == (stream, http)


def test_ports_that_somebody_else_took_are_given_up_and_our_own_are_kept() -> None:
    stream, http = free_ports(2)
    with socket.create_server(("127.0.0.1", http)):
        assert programs.simulator_ports(remembered(stream, http), runs=True) == (stream, http)
        others = programs.simulator_ports(remembered(stream, http), runs=False)
        assert http not in others
        assert programs.service_environment(
            {"BIND_ADDRESS": "127.0.0.1", "GAP_HANDLER_PORT": "1"}, others, bundled=False
        )["BINANCE_API_URL"].endswith(f":{others[1]}")

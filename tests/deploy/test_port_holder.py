"""Who listens on a port, as the kernel tells it."""

from __future__ import annotations

import os
import socket
import sys

import pytest

import port_holder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")


def test_the_listener_is_known_and_nobody_else_is_taken_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_holder.listens(os.getpid(), port)
        assert not port_holder.listens(os.getppid(), port)
        assert port_holder.holder(port).endswith(f" (pid {os.getpid()})")
    assert not port_holder.listens(os.getpid(), port)
    assert port_holder.holder(port) == ""


def test_a_process_that_is_gone_listens_on_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not port_holder.listens(0, server.getsockname()[1])

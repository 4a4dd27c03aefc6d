"""Kinds that act on WebSocket handshakes."""

from __future__ import annotations

from exchange_simulator.faults.model import Fault, Phase, World, kind


@kind(
    "refuse_connections",
    Phase.CONNECT,
    "New connections fail: `status` 0 resets TCP, anything else is that HTTP status.",
    status=0,
)
def refuse_connections(fault: Fault, _: None, world: World) -> int:
    """``count`` is how many attempts."""
    return int(fault.params["status"])

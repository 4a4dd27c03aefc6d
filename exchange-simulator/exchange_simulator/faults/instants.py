"""Kinds that act at once: cut connections, announce a shutdown, send nonsense, halt trading."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import orjson

from exchange_simulator.errors import FaultError
from exchange_simulator.faults.model import Fault, Phase, World, kind
from exchange_simulator.market import Span
from exchange_simulator.rows import MINUTE_MS
from exchange_simulator.streams.frames import RawFrame, ShutdownFrame
from exchange_simulator.streams.hub import Listener

if TYPE_CHECKING:
    from exchange_simulator.streams.connection import Session


def _sessions(fault: Fault, world: World) -> list[Session]:
    """Connections in the order they opened, only those of the fault's symbol if it names one."""
    chosen: list[Listener] = list(world.hub.listeners)
    if fault.symbol is not None:
        prefix = fault.symbol.lower() + "@"
        named = [stream for stream in world.hub.subscribers if stream.startswith(prefix)]
        hit = {listener for stream in named for listener in world.hub.subscribers[stream]}
        chosen = [listener for listener in chosen if listener in hit]
    return cast("list[Session]", chosen[: fault.remaining])


@kind(
    "drop_connections",
    Phase.INSTANT,
    "End open connections: mode `abort` resets TCP, `close` sends a close frame with `code`.",
    mode="abort",
    code=1001,
    reason="",
)
def drop_connections(fault: Fault, _: None, world: World) -> dict[str, object]:
    """``count`` limits how many."""
    mode = fault.params["mode"]
    if mode not in ("abort", "close"):
        raise FaultError("drop_connections: mode must be abort or close")
    sessions = _sessions(fault, world)
    for session in sessions:
        if mode == "abort":
            session.abort()
        else:
            session.hang_up(int(fault.params["code"]), fault.params["reason"])
    return {"connections": len(sessions), "mode": mode}


@kind(
    "server_shutdown",
    Phase.INSTANT,
    "Send `serverShutdown` to everyone and close those connections `grace_seconds` (real) later.",
    grace_seconds=5.0,
)
def server_shutdown(fault: Fault, _: None, world: World) -> dict[str, object]:
    """Connections opened after the announcement stay."""
    sessions = _sessions(fault, world)
    world.hub.broadcast(ShutdownFrame(world.clock.now_ms()), sessions)
    loop = asyncio.get_running_loop()
    for session in sessions:
        loop.call_later(float(fault.params["grace_seconds"]), session.hang_up)
    return {"connections": len(sessions)}


@kind(
    "stuck_socket",
    Phase.INSTANT,
    "Open connections stay open and dead: nothing is sent, not even a pong or the answer to a close.",
)
def stuck_socket(fault: Fault, _: None, world: World) -> dict[str, object]:
    """``count`` limits how many. Each stays so until its reader gives up."""
    sessions = _sessions(fault, world)
    for session in sessions:
        session.connection.stuck = True
    return {"connections": len(sessions)}


@kind("stop_pings", Phase.INSTANT, "The server pings open connections no more.")
def stop_pings(fault: Fault, _: None, world: World) -> dict[str, object]:
    """``count`` limits how many. A reader that waits for pings hears none; everything else goes on."""
    sessions = _sessions(fault, world)
    for session in sessions:
        session.connection.stop_pings()
    return {"connections": len(sessions)}


@kind("garbage_frame", Phase.INSTANT, "Send `text` once, as it is.", text='{"e":"kli')
def garbage_frame(fault: Fault, _: None, world: World) -> dict[str, object]:
    """To every connection, or to those with a stream of ``symbol``."""
    frame = RawFrame(fault.params["text"], world.clock.now_ms())
    return {"connections": world.hub.broadcast(frame, _sessions(fault, world))}


@kind("large_frame", Phase.INSTANT, "Send one well-formed message of about `bytes` bytes.", bytes=2_000_000)
def large_frame(fault: Fault, _: None, world: World) -> dict[str, object]:
    """An event type nobody knows."""
    body = orjson.dumps({"e": "notice", "E": world.clock.now_ms(), "pad": "x" * int(fault.params["bytes"])})
    frame = RawFrame(body.decode(), world.clock.now_ms())
    return {"connections": world.hub.broadcast(frame, _sessions(fault, world))}


@kind(
    "halt",
    Phase.INSTANT,
    "Trading stops: `minutes` minutes from `start` (ms, default the next minute) vanish from every channel.",
    start=None,
    minutes=5,
)
def halt(fault: Fault, _: None, world: World) -> dict[str, object]:
    """Without ``symbol`` for all. Clearing it ends the halt now; minutes already halted stay so."""
    start = fault.params["start"]
    if start is None:
        start = world.clock.now_ms() // MINUTE_MS * MINUTE_MS + MINUTE_MS
    start = int(start) // MINUTE_MS * MINUTE_MS
    span = Span(fault.symbol, start, start + int(fault.params["minutes"]) * MINUTE_MS)
    world.market.set_halts((*world.market.halts, span))
    fault.state["span"] = span
    return {"start": span.start, "end": span.end, "symbol": span.symbol}

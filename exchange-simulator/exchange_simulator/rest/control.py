"""`/control/...`: look at the simulator, set its clock, inject faults."""

from __future__ import annotations

import datetime
from typing import Any

from exchange_simulator.clock import MarketClock
from exchange_simulator.errors import ClockError, FaultError
from exchange_simulator.faults import Faults
from exchange_simulator.market import Market
from exchange_simulator.streams.hub import Hub

_RECORDS_SHOWN = 1_000


def state(clock: MarketClock, market: Market, hub: Hub, faults: Faults) -> dict[str, Any]:
    """Everything a test may want to know."""
    return {
        "clock": clock_state(clock),
        "symbols": [
            {"symbol": symbol, "first_day": _date(market.source.first_day(symbol)),
             "last_day": _date(market.source.last_day(symbol))}
            for symbol in market.symbols
        ],
        "connections": len(hub.listeners),
        "subscriptions": {stream: len(listeners) for stream, listeners in hub.subscribers.items()},
        "sent_frames": hub.sent_frames,
        "halts": [{"symbol": s.symbol, "start": s.start, "end": s.end} for s in market.halts],
        "faults": faults.state(),
        "injected": list(faults.injected)[-_RECORDS_SHOWN:],
        "kinds": faults.kinds(),
    }  # fmt: skip


def clock_state(clock: MarketClock) -> dict[str, Any]:
    """Market time, speed and whether it stands still."""
    return {
        "now_ms": clock.now_ms(),
        "speed": "max" if clock.speed is None else clock.speed,
        "paused": clock.paused,
        "end_ms": clock.end_ms,
        "at_end": clock.end_ms is not None and clock.now_ms() >= clock.end_ms,
    }


def change_clock(clock: MarketClock, body: object) -> dict[str, Any]:
    """Apply `pause`, `resume`, `speed` and `jump` (ms, or ISO 8601), in that order. Raises ClockError."""
    if not isinstance(body, dict) or not body:
        raise ClockError("send an object with pause, resume, speed or jump")
    unknown = body.keys() - {"pause", "resume", "speed", "jump"}
    if unknown:
        raise ClockError(f"unknown: {', '.join(sorted(unknown))}")
    if body.get("pause"):
        clock.pause()
    if body.get("resume"):
        clock.resume()
    if "speed" in body:
        clock.set_speed(parse_speed(str(body["speed"])))
    if "jump" in body:
        clock.jump(parse_time(str(body["jump"])))
    return clock_state(clock)


def add_fault(faults: Faults, body: object) -> dict[str, Any]:
    """Inject what the body describes. Raises FaultError."""
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise FaultError("send an object with a kind")
    for name, types in (("symbol", str), ("count", int), ("for_seconds", int | float), ("seed", int)):
        if body.get(name) is not None and not isinstance(body[name], types):
            raise FaultError(f"{name} has the wrong type")
    fault = faults.add(**body)
    return {"id": fault.id, "kind": fault.kind.name, "fired": fault.fired}


def parse_speed(text: str) -> float | None:
    """A number of market seconds per real second, or `max` (None). Raises ClockError."""
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError:
        raise ClockError(f"not a speed: {text!r}") from None


def parse_time(text: str) -> int:
    """Unix ms from a number of ms or an ISO 8601 time (UTC unless it says otherwise). Raises ClockError."""
    try:
        if text.lstrip("-").isdigit():
            return int(text)
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ClockError(f"not a time: {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * 1000)


def _date(day: int | None) -> str | None:
    return None if day is None else (datetime.date(1970, 1, 1) + datetime.timedelta(day)).isoformat()

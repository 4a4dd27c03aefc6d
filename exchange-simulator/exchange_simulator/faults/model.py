"""A fault and its kind, and the table of kinds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from exchange_simulator.clock import MarketClock, monotonic
from exchange_simulator.errors import FaultError
from exchange_simulator.market import Market
from exchange_simulator.streams.frames import Frame
from exchange_simulator.streams.hub import Hub


class Phase(StrEnum):
    """Where a fault takes hold."""

    INSTANT = "instant"  # once, when it is added
    CONNECT = "connect"  # on each WebSocket handshake
    SESSION = "session"  # on each connection that was let in
    FRAME = "frame"  # on each stream message
    ROWS = "rows"  # on the minutes klines have
    ANSWER = "answer"  # on the rows a klines request is answered with
    REQUEST = "request"  # before a request is looked at
    RESPONSE = "response"  # on the finished answer
    ARCHIVE = "archive"  # on a published file and its checksum


class World(Protocol):
    """What faults may touch."""

    clock: MarketClock
    market: Market
    hub: Hub

    def defer(self, at_ms: int, frame: Frame) -> None:
        """Send a frame at a later market time."""
        ...

    def hold(self, frame: Frame) -> None:
        """Send a frame right after the next one of its stream."""
        ...


@dataclass(slots=True)
class Fault:
    """One injected fault. ``fired`` counts how often it truly did something."""

    id: int
    kind: Kind
    params: dict[str, Any]
    symbol: str | None
    remaining: int | None
    deadline: float | None
    rng: random.Random
    fired: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def in_time(self) -> bool:
        """False once its time is used up."""
        return self.deadline is None or monotonic() < self.deadline

    @property
    def live(self) -> bool:
        """False once its count or time is used up."""
        return (self.remaining is None or self.remaining > 0) and self.in_time


Apply = Callable[[Fault, Any, World], Any]


class Kind(NamedTuple):
    """An entry of the table. ``defaults`` name every parameter it takes; None means required or absent."""

    name: str
    phase: Phase
    apply: Apply
    defaults: Mapping[str, Any]
    required: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]
    help: str


KINDS: Final[dict[str, Kind]] = {}


def kind(
    name: str,
    phase: Phase,
    summary: str,
    *,
    required: tuple[str, ...] = (),
    choices: Mapping[str, tuple[str, ...]] | None = None,
    **defaults: Any,
) -> Callable[[Apply], Apply]:
    """Enter the decorated function into the table under ``name``."""

    def enter(apply: Apply) -> Apply:
        KINDS[name] = Kind(name, phase, apply, defaults, required, choices or {}, summary)
        return apply

    return enter


def checked(name: str, params: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """The kind called ``name`` and ``params`` completed by its defaults. Raises FaultError."""
    found = KINDS.get(name)
    if found is None:
        raise FaultError(f"unknown fault {name!r}; known: {', '.join(sorted(KINDS))}")
    unknown = params.keys() - found.defaults.keys()
    if unknown:
        takes = ", ".join(found.defaults) or "no parameters"
        raise FaultError(f"{name} doesn't take {', '.join(sorted(unknown))} (it takes {takes})")
    full = {**found.defaults, **params}
    missing = [key for key in found.required if full[key] is None]
    if missing:
        raise FaultError(f"{name} needs {', '.join(missing)}")
    for key, allowed in found.choices.items():
        if full[key] not in allowed:
            raise FaultError(f"{name}: {key} must be one of {', '.join(allowed)}")
    for key, value in full.items():
        default = found.defaults[key]
        numeric = isinstance(default, int | float) and not isinstance(default, bool)
        if numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise FaultError(f"{name}: {key} must be a number")
        if isinstance(default, str) and not isinstance(value, str):
            raise FaultError(f"{name}: {key} must be text")
    return found, full

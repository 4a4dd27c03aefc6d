"""Kinds that decide how a new WebSocket connection behaves."""

from __future__ import annotations

from exchange_simulator.faults.model import Fault, Phase, World, kind
from exchange_simulator.intrabar import partial
from exchange_simulator.rows import MINUTE_MS, row_of
from exchange_simulator.streams.connection import Session
from exchange_simulator.streams.frames import Frame, KlineFrame

_KLINES = "@kline_1m"


@kind(
    "silent_after_ack",
    Phase.SESSION,
    "New connections have their subscriptions acknowledged, and nothing ever comes.",
)
def silent_after_ack(fault: Fault, session: Session, world: World) -> None:
    """``count`` is how many connections; each stays silent for as long as it lives."""
    session.silent = True


@kind(
    "old_snapshot",
    Phase.SESSION,
    "On a new connection the first frame of each 1m kline stream is of `minutes` ago, half-way through it.",
    minutes=2,
)
def old_snapshot(fault: Fault, session: Session, world: World) -> None:
    """``count`` is how many connections."""
    age = int(fault.params["minutes"]) * MINUTE_MS

    def snapshot(stream: str) -> Frame | None:
        symbol = stream.removesuffix(_KLINES).upper()
        if not stream.endswith(_KLINES) or symbol not in world.market.symbols:
            return None
        minute = world.clock.now_ms() // MINUTE_MS * MINUTE_MS - age
        place = world.market.place(symbol, minute)
        if place is None:
            return None
        at = minute + MINUTE_MS // 2
        row = row_of(partial(place.day.ints(place.position), at, world.market.source.spec(symbol)))
        first_id = place.day.first_trade_id(place.position)
        return KlineFrame(stream, symbol, "1m", row, first_id, at, False)

    session.snapshots.append(snapshot)

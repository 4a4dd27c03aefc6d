"""The faults in force, and the record of what they did."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from exchange_simulator.clock import MarketClock, monotonic
from exchange_simulator.errors import FaultError
from exchange_simulator.faults import archives, connects, frames, instants, requests, sessions
from exchange_simulator.faults.archives import Published
from exchange_simulator.faults.model import KINDS, Fault, Phase, checked
from exchange_simulator.faults.requests import Answer, Question
from exchange_simulator.market import Market, Span
from exchange_simulator.rows import MINUTE_MS, Row
from exchange_simulator.streams.connection import Session
from exchange_simulator.streams.frames import Frame
from exchange_simulator.streams.hub import Hub
from exchange_simulator.streams.publisher import Publisher

_RECORDS_KEPT = 100_000
TABLES = (archives, connects, frames, instants, requests, sessions)
"""Importing these fills the table of kinds."""


class Faults:
    """Adds, applies and lists faults. Without any, every hook returns its input at once."""

    def __init__(self, clock: MarketClock, market: Market, hub: Hub) -> None:
        self.clock = clock
        self.market = market
        self.hub = hub
        self.publisher: Publisher | None = None
        self.injected: deque[dict[str, Any]] = deque(maxlen=_RECORDS_KEPT)
        self._faults: list[Fault] = []
        self._maybe_live: dict[Phase, list[Fault]] = {phase: [] for phase in Phase}
        self._held: dict[str, list[Frame]] = {}
        self._next_id = 1

    def add(
        self,
        kind: str,
        *,
        symbol: str | None = None,
        count: int | None = None,
        for_seconds: float | None = None,
        seed: int | None = None,
        **params: Any,
    ) -> Fault:
        """Inject a fault: for the next ``count`` chances, ``for_seconds`` real seconds, or until cleared.

        Raises FaultError when the kind or a parameter is unknown.
        """
        found, full = checked(kind, params)
        if symbol is not None and symbol not in self.market.symbols:
            raise FaultError(f"unknown symbol {symbol!r}")
        if count is not None and count < 1:
            raise FaultError("count must be at least 1")
        deadline = None if for_seconds is None else monotonic() + for_seconds
        rng = random.Random(self._next_id if seed is None else seed)
        fault = Fault(self._next_id, found, full, symbol, count, deadline, rng)
        if found.phase is Phase.INSTANT:
            detail = found.apply(fault, None, self)
            self._record(fault, detail)
        self._next_id += 1
        self._faults.append(fault)
        self._maybe_live[found.phase].append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Remove one fault or all; returns how many. What already happened stays happened."""
        gone = [fault for fault in self._faults if fault_id in (None, fault.id)]
        self._faults = [fault for fault in self._faults if fault not in gone]
        for phase, faults in self._maybe_live.items():
            self._maybe_live[phase] = [fault for fault in faults if fault not in gone]
        this_minute = self.clock.now_ms() // MINUTE_MS * MINUTE_MS
        for fault in gone:
            span = fault.state.get("span")
            if span in self.market.halts:
                past = span._replace(end=min(span.end, this_minute))
                others = (halt for halt in self.market.halts if halt is not span)
                self.market.set_halts((*others, past) if past.start < past.end else others)
        return len(gone)

    def state(self) -> list[dict[str, Any]]:
        """Every fault added and not cleared, as JSON-ready values."""
        return [
            {
                "id": fault.id,
                "kind": fault.kind.name,
                "symbol": fault.symbol,
                "params": fault.params,
                "remaining": fault.remaining,
                "live": fault.kind.phase is not Phase.INSTANT and fault.live,
                "fired": fault.fired,
            }
            for fault in self._faults
        ]

    def kinds(self) -> list[dict[str, Any]]:
        """The table, for humans and for `GET /control/state`."""
        return [
            {"kind": kind.name, "phase": kind.phase, "params": dict(kind.defaults), "help": kind.help}
            for kind in KINDS.values()
        ]

    def distort(self, batch: list[Frame]) -> list[Frame]:
        """What is sent instead of ``batch``."""
        live = self._live(Phase.FRAME)
        if not live and not self._held:
            return batch
        out: list[Frame] = []
        for frame in batch:
            overtaken = self._held.pop(frame.stream, [])
            sent = [frame]
            # A frame that overtakes another is left alone, or the two would change places twice.
            for fault in () if overtaken else live:
                if fault.live and sent == [frame] and frames.matches(fault, frame):
                    sent = fault.kind.apply(fault, frame, self)
                    self._spend(fault, {"stream": frame.stream, "minute": frame.minute, "frame": frame.kind})
            out += sent
            out += overtaken
        return out

    def refusal(self) -> int | None:
        """How to treat a new WebSocket connection: None lets it in."""
        for fault in self._live(Phase.CONNECT):
            status: int = fault.kind.apply(fault, None, self)
            self._spend(fault, {"status": status})
            return status
        return None

    def greet(self, session: Session) -> None:
        """Tell a connection that was let in how to behave."""
        for fault in self._live(Phase.SESSION):
            fault.kind.apply(fault, session, self)
            self._spend(fault, {"streams": len(session.target.streams)})

    async def intercept(self, path: str) -> Answer | None:
        """Delay a request or answer it in the exchange's place."""
        for fault in self._live(Phase.REQUEST):
            if fault.live and fault.params["path"] in path:
                self._spend(fault, {"path": path})
                answer: Answer | None = await fault.kind.apply(fault, path, self)
                if answer is not None:
                    return answer
        return None

    def spoil(self, path: str, body: bytes) -> bytes:
        """The body that is sent instead of ``body``."""
        for fault in self._live(Phase.RESPONSE):
            if fault.params["path"] in path:
                body = fault.kind.apply(fault, body, self)
                self._spend(fault, {"path": path})
        return body

    def hidden(self, symbol: str, start: int, end: int) -> list[Span]:
        """Minutes REST pretends not to have in [start, end] (ms)."""
        spans: list[Span] = []
        for fault in self._live(Phase.ROWS):
            span: Span = fault.kind.apply(fault, None, self)
            if span.symbol in (None, symbol) and span.start <= end and start < span.end:
                spans.append(span)
                self._spend(fault, {"symbol": symbol, "start": span.start, "end": span.end})
        return spans

    def rearranged(self, question: Question, rows: list[Row]) -> list[Row]:
        """The klines that are answered instead of ``rows``."""
        for fault in self._live(Phase.ANSWER):
            if fault.symbol in (None, question.symbol):
                rows = fault.kind.apply(fault, (question, rows), self)
                self._spend(fault, {"symbol": question.symbol, "rows": len(rows)})
        return rows

    def published(self, path: str, file: Published) -> Published:
        """The file and checksum that are found at ``path`` (the zip's) instead of ``file``.

        ``count`` is how many files; a file once spoilt stays so for as long as the fault lasts.
        """
        for fault in self._faults:
            if fault.kind.phase is not Phase.ARCHIVE or not fault.in_time or fault.params["path"] not in path:
                continue
            spoilt = fault.state.setdefault("files", {})
            if path not in spoilt:
                if not fault.live or fault.symbol not in (None, file.symbol):
                    continue
                spoilt[path] = fault.rng.randrange(1 << 30)
                self._spend(fault, {"path": path})
            file = fault.kind.apply(fault, (file, random.Random(spoilt[path])), self)
        return file

    def defer(self, at_ms: int, frame: Frame) -> None:
        """Send ``frame`` at a later market time."""
        if self.publisher is not None:
            self.publisher.defer(at_ms, frame)

    def hold(self, frame: Frame) -> None:
        """Send ``frame`` right after the next one of its stream."""
        self._held.setdefault(frame.stream, []).append(frame)

    def _live(self, phase: Phase) -> list[Fault]:
        """Asked for every frame: what is used up is forgotten here, so that a long storm stays cheap."""
        faults = self._maybe_live[phase]
        live = [fault for fault in faults if fault.live]
        if len(live) < len(faults):
            self._maybe_live[phase] = live
        return live[:]

    def _spend(self, fault: Fault, detail: dict[str, Any]) -> None:
        if fault.remaining is not None:
            fault.remaining -= 1
        self._record(fault, detail)

    def _record(self, fault: Fault, detail: dict[str, Any]) -> None:
        fault.fired += 1
        entry = {"fault": fault.id, "kind": fault.kind.name, "market_ms": self.clock.now_ms(), **detail}
        self.injected.append(entry)

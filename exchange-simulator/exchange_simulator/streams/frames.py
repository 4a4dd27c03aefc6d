"""Stream messages: kline, bookTicker and the rare others, encoded once for each kind of reader."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from exchange_simulator.book import Top
from exchange_simulator.decimals import text
from exchange_simulator.rows import Row
from exchange_simulator.streams.wire import text_message

# A reader's variant: bit 0 set on combined connections, bit 1 where times are in microseconds.
COMBINED: Final = 1
MICROSECONDS: Final = 2
VARIANTS: Final = 4


class FrameKind(StrEnum):
    """What a message is about; faults choose by it."""

    FINAL = "final"
    OPEN = "open"
    BOOK = "book"
    OTHER = "other"


class Frame:
    """A message of one stream. ``event`` is market time (ms), ``minute`` the open time it is about."""

    __slots__ = ("_wires", "event", "kind", "minute", "stream", "symbol")

    def __init__(self, stream: str, symbol: str, kind: FrameKind, minute: int, event: int) -> None:
        self.stream = stream
        self.symbol = symbol
        self.kind = kind
        self.minute = minute
        self.event = event
        self._wires: list[bytes | None] = [None] * VARIANTS

    def payload(self, microseconds: bool) -> str:
        """The JSON text of a raw stream."""
        raise NotImplementedError

    def wire(self, variant: int) -> bytes:
        """The message framed for readers of ``variant``; made once."""
        wire = self._wires[variant]
        if wire is None:
            body = self.payload(bool(variant & MICROSECONDS))
            if variant & COMBINED:
                body = f'{{"stream":"{self.stream}","data":{body}}}'
            wire = self._wires[variant] = text_message(body.encode())
        return wire


class KlineFrame(Frame):
    """One `kline` event. ``first_id`` is the id of its first trade; -1 is sent when nothing traded."""

    __slots__ = ("final", "first_id", "interval", "row")

    def __init__(
        self, stream: str, symbol: str, interval: str, row: Row, first_id: int, event: int, final: bool
    ) -> None:
        super().__init__(stream, symbol, FrameKind.FINAL if final else FrameKind.OPEN, row.open_time, event)
        self.interval = interval
        self.row = row
        self.first_id = first_id
        self.final = final

    def payload(self, microseconds: bool) -> str:
        """Every field in the order Binance sends it."""
        t, o, h, low, c, v, end, q, n, tb, tq = self.row
        event, symbol = self.event, self.symbol
        if microseconds:
            t, end, event = t * 1000, end * 1000 + 999, event * 1000
        first = self.first_id if n else -1
        last = first + n - 1 if n else -1
        return (
            f'{{"e":"kline","E":{event},"s":"{symbol}","k":{{"t":{t},"T":{end},"s":"{symbol}",'
            f'"i":"{self.interval}","f":{first},"L":{last},"o":"{o}","c":"{c}","h":"{h}","l":"{low}",'
            f'"v":"{v}","n":{n},"x":{"true" if self.final else "false"},"q":"{q}",'
            f'"V":"{tb}","Q":"{tq}","B":"0"}}}}'
        )


class BookFrame(Frame):
    """One `bookTicker` event; spot's carries no time and no type."""

    __slots__ = ("top",)

    def __init__(self, stream: str, symbol: str, top: Top, event: int) -> None:
        super().__init__(stream, symbol, FrameKind.BOOK, event // 60_000 * 60_000, event)
        self.top = top

    def payload(self, microseconds: bool) -> str:
        """Five fields and the symbol."""
        update, bid, bid_size, ask, ask_size = self.top
        return (
            f'{{"u":{update},"s":"{self.symbol}","b":"{text(bid)}","B":"{bid_size}",'
            f'"a":"{text(ask)}","A":"{ask_size}"}}'
        )


class ShutdownFrame(Frame):
    """`serverShutdown`: sent unasked to every connection."""

    def __init__(self, event: int) -> None:
        super().__init__("!serverShutdown", "", FrameKind.OTHER, event // 60_000 * 60_000, event)

    def payload(self, microseconds: bool) -> str:
        """Type and time."""
        return f'{{"e":"serverShutdown","E":{self.event * 1000 if microseconds else self.event}}}'


class RawFrame(Frame):
    """Any text, sent as it is on raw and combined connections alike."""

    __slots__ = ("text",)

    def __init__(self, content: str, event: int) -> None:
        super().__init__("", "", FrameKind.OTHER, event // 60_000 * 60_000, event)
        self.text = content

    def wire(self, variant: int) -> bytes:
        """The text, never wrapped."""
        return text_message(self.text.encode())

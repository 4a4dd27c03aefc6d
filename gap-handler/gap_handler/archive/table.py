"""A file read as columns, thousands of lines at a time, where nothing about it is odd."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import le, lt, mod
from typing import IO, Any, Final

import orjson

from gap_handler.archive import rows
from gap_handler.archive.files import File
from gap_handler.archive.outcome import UnusableError
from gap_handler.plan import SETTLING_MS, Run
from marketdata.binance.messages import milliseconds
from marketdata.errors import MarketDataError
from marketdata.models import MINUTE_MS
from marketdata.store.bulk import Block

PIECE_BYTES: Final = 128 * 1024
"""Unpacked bytes taken in one go, 850 lines or so: 2 ms off the event loop."""
_ALPHABET: Final = b"0123456789.,\n"
_WIDTH: Final = 13
"""A line's twelve cells, and the end of the line as one of its own."""
_COLUMNS: Final = (
    ("d", 1), ("d", 2), ("d", 3), ("d", 4), ("d", 5), ("d", 7), ("q", 8), ("d", 9), ("d", 10),
)  # fmt: skip
"""What ``Candle`` has after its time, and where in a line (binance-public-data, "Klines")."""


class OddError(MarketDataError):
    """The file has something that must be looked at line by line: ``rows`` does."""


def _pieces(packed: IO[bytes], stem: str) -> Iterator[bytes]:
    """Yield the CSV in pieces of whole lines."""
    rest, size = b"", 0
    with rows.entry(packed, stem) as text:
        while piece := text.read(PIECE_BYTES):
            size += len(piece)
            if size > rows.UNPACKED_MOST:
                raise OddError("too large")
            whole, end, rest = (rest + piece).rpartition(b"\n")
            if not end:
                raise OddError("a line without an end")
            yield whole + end
    if rest:
        yield rest + b"\n"


def _sound(columns: Sequence[array[Any]]) -> bool:
    """Whether ``candle_problem`` finds nothing in any row. JSON of ``_ALPHABET`` has no NaN and no sign."""
    _, opened, high, low, closed, *_ = columns
    return (
        min(low) > 0
        and all(map(le, low, opened))
        and all(map(le, low, closed))
        and all(map(le, opened, high))
        and all(map(le, closed, high))
    )


def decode(text: bytes, file: File, now_ms: int) -> Block:
    """Return the candles of whole lines: ascending minutes of the file, all of them over and possible.

    Raises ``OddError`` for anything else, and where a number is not written as JSON writes it.
    """
    if text.translate(None, _ALPHABET):
        raise OddError("more than digits, points and commas")
    try:
        # Null marks the end of each line: no array takes one in the place of a number.
        cells = orjson.loads(b"[" + text.replace(b"\n", b",null,") + b"0]")
    except orjson.JSONDecodeError as error:
        raise OddError(str(error)) from None
    count = len(cells) // _WIDTH
    if len(cells) != count * _WIDTH + 1 or cells[_WIDTH - 1 :: _WIDTH] != [None] * count or not count:
        raise OddError("not twelve columns")

    def column(type_code: str, number: int) -> array[Any]:
        return array(type_code, cells[number:-1:_WIDTH])

    try:
        opens, closes = column("q", 0), column("q", 6)
        columns = tuple(column(kind, number) for kind, number in _COLUMNS)
    except (TypeError, OverflowError) as error:
        raise OddError(str(error)) from None
    unit = 1 if milliseconds(opens[0]) == opens[0] else 1000
    if any(map(mod, opens, repeat(MINUTE_MS * unit))):
        raise OddError("an open off the minute")
    times = opens if unit == 1 else array("q", [time // unit for time in opens])
    if not (file.start <= times[0] and times[-1] < file.end and all(map(lt, times, times[1:]))):
        raise OddError("out of order, or of other days")
    if max(*map(milliseconds, closes), times[-1] + MINUTE_MS - 1) + SETTLING_MS >= now_ms:
        raise OddError("minutes that are not over")
    block = Block(file.symbol, (times, *columns))
    if not _sound(block.columns):
        raise OddError("an impossible candle")
    return block


class Table:
    """Takes the missing minutes out of a file piece by piece; nothing counts before the last."""

    def __init__(self, packed: IO[bytes], file: File, missing: Sequence[Run], now_ms: int) -> None:
        self.wanted = Block.of(file.symbol)
        self._file = file
        self._missing = missing
        self._now = now_ms
        self._pieces = _pieces(packed, file.stem)
        self._last = file.start - 1

    def take(self) -> bool:
        """Look at one piece; False when there is none. Raises ``OddError``: then the file is not for this."""
        try:
            text = next(self._pieces, b"")
        except UnusableError as error:
            raise OddError(str(error)) from None
        if not text:
            return False
        block = decode(text, self._file, self._now)
        if block.times[0] <= self._last:
            raise OddError("out of order")
        self._last = block.times[-1]
        for run in self._missing:
            if run.start <= self._last and run.end > block.times[0]:
                self.wanted.extend(block.between(run.start, run.end))
        return True

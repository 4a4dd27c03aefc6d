"""A file read as columns, thousands of lines at a time, where nothing about it is odd."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from math import inf
from operator import le, lt, mod
from typing import IO, Any, Final

from gap_handler.archive import rows
from gap_handler.archive.files import File
from gap_handler.archive.outcome import UnusableError
from gap_handler.plan import SETTLING_MS, Run
from marketdata.binance.messages import milliseconds
from marketdata.errors import MarketDataError
from marketdata.models import MINUTE_MS
from marketdata.store.bulk import Block

PIECE_BYTES: Final = 256 * 1024
"""Unpacked bytes taken in one go, 1,700 lines or so: some milliseconds off the event loop."""
_ALPHABET: Final = b"0123456789.,\n"
_WIDTH: Final = 13
"""A line's twelve cells, and the end of the line as one of its own."""


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
    """Whether ``candle_problem`` finds nothing in any row; each comparison is false for NaN."""
    _, opened, high, low, closed, volume, quote_volume, trades, buy, quote_buy = columns
    return (
        all(map(lt, repeat(0.0), low))
        and all(map(le, low, opened))
        and all(map(le, low, closed))
        and all(map(le, opened, high))
        and all(map(le, closed, high))
        and all(map(lt, high, repeat(inf)))
        and min(trades) >= 0
        and all(
            all(map(le, repeat(0.0), amounts)) and all(map(lt, amounts, repeat(inf)))
            for amounts in (volume, quote_volume, buy, quote_buy)
        )
    )


def decode(text: bytes, file: File, now_ms: int) -> Block:
    """Return the candles of whole lines: ascending minutes of the file, all of them over and possible.

    Raises ``OddError`` for anything else, and where a number is not plain digits.
    """
    if text.translate(None, _ALPHABET):
        raise OddError("more than digits, points and commas")
    cells = text.replace(b"\n", b",\n,").split(b",")
    count = len(cells) // _WIDTH
    # The last end of a line has an empty cell behind it.
    if len(cells) != count * _WIDTH + 1 or cells[_WIDTH - 1 :: _WIDTH] != [b"\n"] * count or not count:
        raise OddError("not twelve columns")

    def column(number: int) -> list[bytes]:
        return cells[number:-1:_WIDTH]

    try:
        opens = list(map(int, column(0)))
        unit = 1 if milliseconds(opens[0]) == opens[0] else 1000
        if any(map(mod, opens, repeat(MINUTE_MS * unit))):
            raise OddError("an open off the minute")
        times = array("q", [time // unit for time in opens])
        over = max(max(map(milliseconds, map(int, column(6)))), times[-1] + MINUTE_MS - 1)
        prices = [array("d", map(float, column(number))) for number in (1, 2, 3, 4, 5, 7)]
        trades = array("q", map(int, column(8)))
        bought = [array("d", map(float, column(number))) for number in (9, 10)]
    except (ValueError, OverflowError) as error:
        raise OddError(str(error)) from None
    if not (file.start <= times[0] and times[-1] < file.end and all(map(lt, times, times[1:]))):
        raise OddError("out of order, or of other days")
    if over + SETTLING_MS >= now_ms:
        raise OddError("minutes that are not over")
    columns: tuple[array[Any], ...] = (times, *prices, trades, *bought)
    if not _sound(columns):
        raise OddError("an impossible candle")
    return Block(file.symbol, columns)


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

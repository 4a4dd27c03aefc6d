"""What a file's lines say, one by one, and which of them are wanted. Nothing in a file is trusted."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import IO, Final, cast

from gap_handler.archive.files import File
from gap_handler.archive.outcome import Outcome, UnusableError
from gap_handler.plan import Run, is_final
from marketdata.binance.messages import milliseconds
from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.models import MINUTE_MS, Candle

UNPACKED_MOST: Final = 64 * 2**20
"""A month's CSV has 4 to 7 MiB; one that unpacks to more than this is no month of minutes."""
_LINE_MOST: Final = 1024
_COLUMNS: Final = 12
_BIGINT: Final = 2**63
# What the zip reader raises on bytes that are not one, its own bugs' errors included.
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, KeyError,
    OverflowError,
)  # fmt: skip


@contextmanager
def entry(packed: IO[bytes], stem: str) -> Iterator[IO[bytes]]:
    """Lend ``<stem>.csv`` of a zip, unpacked as it is read. Raises ``UnusableError`` where it breaks."""
    try:
        with zipfile.ZipFile(packed) as archive:
            info = archive.getinfo(f"{stem}.csv")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # The others unpack without a bound, one piece at a time.
                raise UnusableError(Outcome.UNREADABLE, f"compressed by method {info.compress_type}")
            yield archive.open(info)
    except _BROKEN as error:
        raise UnusableError(Outcome.UNREADABLE, f"{type(error).__name__}: {error}") from None


def lines(packed: IO[bytes], stem: str) -> Iterator[bytes]:
    """Yield the lines of ``<stem>.csv`` in a zip. Raises ``UnusableError`` where that ends early."""
    with entry(packed, stem) as unpacked:
        text = io.BufferedReader(cast("io.RawIOBase", unpacked))
        size = number = 0
        while line := text.readline(_LINE_MOST):
            size, number = size + len(line), number + 1
            if len(line) == _LINE_MOST:
                raise UnusableError(Outcome.PARTIAL, f"line {number}: too long: {line[:100]!r}")
            if size > UNPACKED_MOST:
                raise UnusableError(Outcome.TOO_LARGE, f"unpacks to more than {UNPACKED_MOST} bytes")
            yield line


def _open_time(value: int) -> int:
    time = milliseconds(value)
    # Less than a millisecond off the grid must not look as if it were on it.
    return time + 1 if time != value and value % 1000 and time % MINUTE_MS == 0 else time


def decode(line: bytes, symbol: str) -> RestCandle:
    """Return a line's candle. Times are ms, or µs from 2025 on (each row decides). Raises ``ValueError``."""
    cells = line.split(b",")
    if len(cells) != _COLUMNS or b"_" in line:  # Python would read 1_000 as a number
        raise ValueError(f"{len(cells)} columns")
    t, o, h, low, c, v, end, q, n, tb, tq, _ = cells
    trades = int(n)
    if abs(trades) >= _BIGINT:
        raise ValueError("a number of trades that is none")
    return RestCandle(
        Candle(
            symbol, _open_time(int(t)), float(o), float(h), float(low), float(c), float(v), float(q),
            trades, float(tb), float(tq),
        ),
        milliseconds(int(end)),
    )  # fmt: skip


def read(packed: IO[bytes], file: File) -> Iterator[RestCandle]:
    """Yield the candles of a file, header or none. Raises ``UnusableError`` at the first wrong line."""
    for number, raw in enumerate(lines(packed, file.stem), start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf").strip()
        if not line or (number == 1 and not line.split(b",", 1)[0].strip().isdigit()):
            continue  # a header's first cell is not a number
        try:
            yield decode(line, file.symbol)
        except ValueError as error:
            raise UnusableError(Outcome.PARTIAL, f"line {number}: {error}: {line[:100]!r}") from None


class Wanted:
    """Picks the candles of the missing minutes out of a file's.

    ``strays`` counts rows of other days than the file's, ``contradicted`` minutes for which it has two
    different rows: neither is taken.
    """

    def __init__(self, file: File, missing: Sequence[Run], now_ms: int) -> None:
        self.strays = 0
        self.rows = 0
        self._file = file
        self._now = now_ms
        self._runs = [run for run in missing if run.start < file.end and run.end > file.start]
        self._starts = [run.start for run in self._runs]
        self._run = Run(0, 0)
        self._found: dict[int, RestCandle] = {}
        self._contradicted: set[int] = set()

    @property
    def contradicted(self) -> int:
        """How many minutes the file contradicts itself on."""
        return len(self._contradicted)

    def take(self, candles: Iterator[RestCandle], most: int) -> bool:
        """Look at ``most`` candles; False when these were the last. Raises what ``candles`` does."""
        seen = 0
        for row in islice(candles, most):
            seen += 1
            self._look(row)
        self.rows += seen
        return seen == most

    def _look(self, row: RestCandle) -> None:
        time = row.candle.time
        if not self._file.start <= time < self._file.end:
            self.strays += 1
            return
        minute = time - time % MINUTE_MS
        if not self._run.start <= minute < self._run.end:
            # Rows come in order, so that this is seldom asked.
            at = bisect_right(self._starts, minute) - 1
            if at < 0 or minute >= self._runs[at].end:
                return
            self._run = self._runs[at]
        if is_final(row, self._now) and self._found.setdefault(time, row).candle != row.candle:
            self._contradicted.add(time)

    def chosen(self) -> list[RestCandle]:
        """Return one candle a minute in order, the impossible ones among them: the ledger wants those."""
        # What is contradicted and possible is left to REST; a candle that cannot be is evidence either way.
        return [
            self._found[time]
            for time in sorted(self._found)
            if time not in self._contradicted or candle_problem(self._found[time].candle)
        ]

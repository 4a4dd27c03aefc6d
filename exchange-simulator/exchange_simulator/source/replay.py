"""Market data from recorded daily archives, every number spelled as it was published."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import cast

import numpy as np

from exchange_simulator.decimals import parse
from exchange_simulator.errors import SourceError
from exchange_simulator.rows import (
    CLOSE,
    COLUMNS,
    DAY_MS,
    MINUTE_MS,
    MINUTES_PER_DAY,
    OPEN,
    OPEN_TIME,
    TRADES,
    VOLUME,
    Ints,
    Row,
    Table,
)
from exchange_simulator.source.archive_file import find, read_lines, to_ms
from exchange_simulator.source.cache import Cache
from exchange_simulator.symbols import SymbolSpec, spec_of


class ReplayDay:
    """The rows of one file. Minutes without a row are a halt."""

    def __init__(self, lines: list[bytes], first_id: int) -> None:
        rows: dict[int, list[int]] = {}
        kept: dict[int, bytes] = {}
        for line in lines:
            try:
                row = _integers(line.decode().split(","))
            except ValueError as error:
                raise SourceError(f"not an archive row: {line[:80]!r}") from error
            # One file of 2017 holds a row twice; the key is the open time.
            rows[row[OPEN_TIME]] = row
            kept[row[OPEN_TIME]] = line
        order = sorted(rows)
        self._lines = [kept[stamp] for stamp in order]
        self._table: Table = np.array([rows[stamp] for stamp in order], dtype=np.int64).reshape(-1, COLUMNS)
        self._ids = first_id + np.cumsum(self._table[:, TRADES]) - self._table[:, TRADES]
        minutes = (self._table[:, OPEN_TIME] % DAY_MS // MINUTE_MS).tolist()
        self._positions: list[int | None] = [None] * MINUTES_PER_DAY
        for position, minute in enumerate(minutes):
            self._positions[minute] = position

    @property
    def table(self) -> Table:
        """All rows that exist."""
        return self._table

    def position(self, minute: int) -> int | None:
        """Position of a minute's row, None in a halt."""
        return self._positions[minute]

    def row(self, position: int) -> Row:
        """The row with the archive's own decimals."""
        t, o, h, low, c, v, end, q, n, tb, tq, *_ = self._lines[position].decode().split(",")
        return Row(to_ms(t), o, h, low, c, v, to_ms(end), q, int(n), tb, tq)

    def ints(self, position: int) -> Ints:
        """The row as integers."""
        return cast(Ints, self._table[position].tolist())

    def first_trade_id(self, position: int) -> int:
        """Id of the first trade at or after this row."""
        return int(self._ids[position])


class ReplaySource:
    """Candles of recorded files, read when first asked for.

    ``only`` limits the symbols; empty means all that are found.
    """

    irregular = True

    def __init__(self, paths: tuple[Path, ...], only: tuple[str, ...] = ()) -> None:
        self._files: dict[str, dict[int, Path]] = defaultdict(dict)
        for file in find(paths):
            # A zip is the published file itself, so it wins over a CSV of the same day.
            if file.path.suffix == ".zip" or file.day not in self._files[file.symbol]:
                self._files[file.symbol][file.day] = file.path
        missing = [symbol for symbol in only if symbol not in self._files]
        if missing:
            raise SourceError(f"no recorded file of {', '.join(missing)}")
        self._symbols = only or tuple(sorted(self._files))
        self._specs: dict[str, SymbolSpec] = {}
        self._trades: dict[str, dict[int, int]] = defaultdict(dict)
        self._days: Cache[tuple[str, int], ReplayDay] = Cache(128 + 3 * len(self._symbols))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments on offer."""
        return self._symbols

    def spec(self, symbol: str) -> SymbolSpec:
        """Properties of an instrument; its price and lot step are read off its first day."""
        spec = self._specs.get(symbol)
        if spec is None:
            table = self._load(symbol, self.first_day(symbol), 1).table
            tick = int(np.gcd.reduce(table[:, OPEN : CLOSE + 1].ravel()))
            lot = int(np.gcd.reduce(table[:, VOLUME])) or 1
            spec = self._specs[symbol] = spec_of(symbol)._replace(tick=max(1, tick), lot=lot)
        return spec

    def first_day(self, symbol: str) -> int:
        """Day of the first file."""
        return min(self._files[symbol])

    def last_day(self, symbol: str) -> int | None:
        """Day of the last file."""
        return max(self._files[symbol])

    def day(self, symbol: str, day: int) -> ReplayDay | None:
        """The day's rows, None without a file."""
        if day not in self._files[symbol]:
            return None
        return self._days.get((symbol, day), lambda: self._load(symbol, day, self._first_id(symbol, day)))

    def archive(self, symbol: str, day: int) -> bytes | None:
        """The zip's own bytes."""
        path = self._files[symbol].get(day)
        return path.read_bytes() if path and path.suffix == ".zip" else None

    def _load(self, symbol: str, day: int, first_id: int) -> ReplayDay:
        loaded = ReplayDay(read_lines(self._files[symbol][day]), first_id)
        self._trades[symbol][day] = int(loaded.table[:, TRADES].sum())
        return loaded

    def _first_id(self, symbol: str, day: int) -> int:
        counts = self._trades[symbol]
        earlier = [other for other in self._files[symbol] if other < day]
        for other in earlier:
            if other not in counts:
                lines = read_lines(self._files[symbol][other])
                counts[other] = sum(int(line.split(b",")[8]) for line in lines)
        return 1 + sum(counts[other] for other in earlier)


def _integers(cells: list[str]) -> list[int]:
    t, o, h, low, c, v, end, q, n, tb, tq, *_ = cells
    return [
        to_ms(t), parse(o), parse(h), parse(low), parse(c), parse(v),
        to_ms(end), parse(q), int(n), parse(tb), parse(tq),
    ]  # fmt: skip

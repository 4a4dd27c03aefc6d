"""Stale rows computed again from what is stored, the newest first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from data_feeder.computer import CHUNK_MS, Computer, last_candles, loadable
from data_feeder.rows import RowWriter
from marketdata.clock import Clock
from marketdata.database import Connection
from marketdata.features.columns import Columns
from marketdata.features.registry import MAX_WINDOW
from marketdata.log import get_logger
from marketdata.models import MINUTE_MS
from marketdata.store import features as store
from marketdata.store.features import Stale

log = get_logger(__name__)

STALE_MOST: Final = 512
"""Symbols whose stale ranges are taken at once."""
STALE_SECONDS: Final = 5.0
"""After so long newer ranges are looked for: a hole at the live end waits for no month of every symbol."""


class Refresher:
    """Computes stale rows again, a turn at a time.

    Live candles go first: after each piece ``give_way`` computes what waits, if anything does, and returns
    whether it did.
    """

    def __init__(
        self,
        computer: Computer,
        rows: RowWriter,
        clock: Clock,
        give_way: Callable[[Connection], Awaitable[bool]],
    ) -> None:
        self._computer = computer
        self._rows = rows
        self._clock = clock
        self._give_way = give_way

    async def turn(self, connection: Connection, of: Sequence[str] | None) -> bool:
        """Compute stale rows of some symbols again, the newest first; return False when there are none.

        Of the symbols ``of`` only; None: of any.
        """
        alike: dict[tuple[tuple[int, int], ...], list[Stale]] = defaultdict(list)
        for one in await store.take_stales(connection, STALE_MOST, of):
            alike[tuple(one.ranges)].append(one)
        since = self._clock.monotonic()
        for ranges, those in alike.items():
            minutes = sum((end - start) // MINUTE_MS for start, end in ranges)
            for part in loadable(those, minutes):
                await self._part(connection, part, chunks(ranges))
                if self._clock.monotonic() - since > STALE_SECONDS:
                    return True
        return bool(alike)

    async def _part(self, connection: Connection, part: list[Stale], pieces: list[tuple[int, int]]) -> None:
        """Compute the same ranges of several symbols again."""
        symbols = [stale.symbol for stale in part]
        # Their minutes of the reference go with their own: whichever of the two changed.
        self._computer.forget(symbols)
        rows = 0
        newest: Columns | None = None
        for place, (start, end) in enumerate(pieces):
            while (again := await self._again(connection, symbols, start, end)) is None:
                pass
            written, window = again
            rows += written
            if place == 0:
                newest = window
            if await self._give_way(connection):
                self._computer.forget(symbols)
                newest = None
        if newest is not None:
            # Else the next minute would read the same from the database: for every symbol, after a repair of
            # the reference.
            await self._computer.put_up_to_the_last_candle(symbols, newest)
        await store.settle_stale(connection, [id_ for stale in part for id_ in stale.ids])
        if rows:
            log.info("features_recomputed", symbol=symbols[0], symbols=len(symbols), rows=rows)

    async def _again(
        self, connection: Connection, symbols: list[str], start: int, end: int
    ) -> tuple[int, Columns] | None:
        """Compute the rows ``[start, end)`` (instants) from the database; return how many changed, and the
        minutes. None: the reference's candle came meanwhile, and the rows were not written.
        """
        first = start - (MAX_WINDOW + 1) * MINUTE_MS
        count = (end - start) // MINUTE_MS
        window = await self._computer.load(connection, symbols, first, end - MINUTE_MS, count)
        # A range reaches as far as a repaired candle will: mostly into minutes that have not been yet.
        stop = int(last_candles(window).max())
        count -= len(window) - stop
        if count < 1:
            return 0, window
        window = window.part(0, stop)
        rows = await self._computer.rows_of(symbols, window, count)
        written = await self._rows.replace(connection, rows)
        return None if written is None else (written, window)


def chunks(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same instants in pieces of CHUNK_MS at most, newest first."""
    return [
        (max(start, end - (n + 1) * CHUNK_MS), end - n * CHUNK_MS)
        for start, end in reversed(ranges)
        for n in range(-(-(end - start) // CHUNK_MS))
    ]

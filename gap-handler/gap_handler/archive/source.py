"""The archives as a source of candles: the next file worth asking for, and what it has of a missing range."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Final, NamedTuple

from gap_handler.archive import rows
from gap_handler.archive.download import Download, Guard
from gap_handler.archive.files import File, next_file
from gap_handler.archive.outcome import Outcome, UnusableError
from gap_handler.archive.table import OddError, Table
from gap_handler.plan import Run
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.clock import Clock, MarketClock
from marketdata.errors import WrongExchangeError
from marketdata.log import get_logger
from marketdata.store.bulk import Block

log = get_logger(__name__)

ASKED_KEEPS_SECONDS: Final = 3600.0
"""A file that was asked for is not asked for again so soon: what it lacked is REST's."""
_SLICE: Final = 2000
"""Rows of an odd file parsed in one go off the event loop, 20 ms or so."""
_PAUSE: Final = (30.0, 600.0)
"""Shortest and longest seconds that all goes by REST after the archives did not answer."""


class Found(NamedTuple):
    """What a file has of the missing minutes: its candles, and the rows that cannot be any."""

    candles: Block
    impossible: list[RestCandle]


class Archives:
    """One or several addresses of the same files. Their troubles are no errors: REST has all they have."""

    def __init__(self, urls: Sequence[str], market: MarketClock, clock: Clock, guard: Guard) -> None:
        self._urls = tuple(urls)
        self._market = market
        self._clock = clock
        self._download = Download(clock, guard)
        self._asked: dict[File, float] = {}
        self._pauses = delays(*_PAUSE)
        self._closed_until = 0.0
        self._off = False
        # One for all workers: with more of them the event loop would wait for each one's turn with the GIL.
        self._reader = ThreadPoolExecutor(1, "archives")

    async def close(self) -> None:
        """Close the connections."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        await self._download.close()

    def next_file(self, symbol: str, missing: Sequence[Run]) -> File | None:
        """Return the newest file worth asking for; None where REST is the better way, or the only one."""
        now = self._clock.monotonic()
        if not self._urls or self._off or now < self._closed_until:
            return None
        self._asked = {file: until for file, until in self._asked.items() if until > now}
        return next_file(symbol, missing, self._market.now_ms, self._asked)

    async def read(self, file: File, missing: Sequence[Run], progress: Callable[[int], None]) -> Found:
        """Return what the file has of the missing minutes, each once, in order; nothing where it is no use.

        ``progress`` is told of every step.
        """
        outcome, reason, found = Outcome.UNAVAILABLE, "", Found(Block.of(file.symbol), [])
        for url in self._urls:
            try:
                with _temporary_file() as packed:
                    await self._download.fetch(url, file, packed, progress)
                    outcome, reason, found = await self._parse(packed, file, missing, progress)
            except WrongExchangeError as error:
                outcome, reason = Outcome.WRONG_EXCHANGE, str(error)
                if not self._off:
                    log.error("archives_off", archive=url, reason=reason)
                self._off = True
                break
            except UnusableError as error:
                outcome, reason = error.outcome, str(error)
            if outcome in (Outcome.READ, Outcome.PARTIAL):
                break
        self._note(file, outcome, reason, len(found.candles) + len(found.impossible))
        return found

    def forget(self, file: File) -> None:
        """Let a file be asked for again: its rows did not get where they belong."""
        self._asked.pop(file, None)

    async def _parse(
        self, packed: IO[bytes], file: File, missing: Sequence[Run], progress: Callable[[int], None]
    ) -> tuple[Outcome, str, Found]:
        """Read columns where the file allows it, else line by line from its beginning."""
        # In slices off the event loop: heartbeats and /health go on.
        aside = asyncio.get_running_loop().run_in_executor
        table = Table(packed, file, missing, self._market.now_ms)
        try:
            while await aside(self._reader, table.take):
                progress(0)
            return Outcome.READ, "", Found(table.wanted, [])
        except OddError as error:
            log.info("archive_file_by_line", file=file.stem, reason=str(error))
        wanted = rows.Wanted(file, missing, self._market.now_ms)
        packed.seek(0)
        candles = rows.read(packed, file)
        outcome, reason = Outcome.READ, ""
        try:
            while await aside(self._reader, wanted.take, candles, _SLICE):
                progress(0)
        except UnusableError as error:
            chosen = wanted.chosen()
            if not chosen:
                raise
            outcome, reason = Outcome.PARTIAL, str(error)
        else:
            chosen = wanted.chosen()
        if wanted.strays or wanted.contradicted:
            log.warning(
                "archive_file_odd", file=file.stem, other_days=wanted.strays, contradicted=wanted.contradicted
            )
        sound = [row.candle for row in chosen if candle_problem(row.candle) is None]
        impossible = [row for row in chosen if candle_problem(row.candle) is not None]
        return outcome, reason, Found(Block.of(file.symbol, sound), impossible)

    def _note(self, file: File, outcome: Outcome, reason: str, chosen: int) -> None:
        metrics.ARCHIVE_FILES.labels(outcome.value).inc()
        if outcome is Outcome.READ:
            log.info("archive_file_read", file=file.stem, candles=chosen)
        else:
            log.warning(
                "archive_file_unusable", file=file.stem, outcome=outcome, reason=reason, candles=chosen
            )
        now = self._clock.monotonic()
        if outcome is not Outcome.UNAVAILABLE:
            self._asked[file] = now + ASKED_KEEPS_SECONDS
            self._pauses = delays(*_PAUSE)
        elif now >= self._closed_until:  # else another worker met the same trouble
            pause = next(self._pauses)
            self._closed_until = now + pause
            log.warning("archives_paused", seconds=round(pause, 1), reason=reason)


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise UnusableError(Outcome.UNAVAILABLE, f"no temporary file: {error}") from error

"""The archives as a source of candles: the next file worth asking for, and what it has of a missing range."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Final

from gap_handler.archive import rows
from gap_handler.archive.download import Download, Guard
from gap_handler.archive.files import File, next_file
from gap_handler.archive.outcome import Outcome, UnusableError
from gap_handler.plan import Run
from marketdata import metrics
from marketdata.backoff import delays
from marketdata.binance.rest import RestCandle
from marketdata.clock import Clock, MarketClock
from marketdata.errors import WrongExchangeError
from marketdata.log import get_logger

log = get_logger(__name__)

ASKED_KEEPS_SECONDS: Final = 3600.0
"""A file that was asked for is not asked for again so soon: what it lacked is REST's."""
_SLICE: Final = 2000
"""Rows parsed in one go off the event loop, 20 ms or so."""
_PAUSE: Final = (30.0, 600.0)
"""Shortest and longest seconds that all goes by REST after the archives did not answer."""


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

    async def close(self) -> None:
        """Close the connections."""
        await self._download.close()

    def next_file(self, symbol: str, missing: Sequence[Run]) -> File | None:
        """Return the newest file worth asking for; None where REST is the better way, or the only one."""
        now = self._clock.monotonic()
        if not self._urls or self._off or now < self._closed_until:
            return None
        self._asked = {file: until for file, until in self._asked.items() if until > now}
        return next_file(symbol, missing, self._market.now_ms, self._asked)

    async def read(
        self, file: File, missing: Sequence[Run], progress: Callable[[int], None]
    ) -> list[RestCandle]:
        """Return the file's rows of the missing minutes, one a minute and in order; none where it is no use.

        Impossible ones are among them: their place is the ledger. ``progress`` is told of every step.
        """
        outcome, reason, chosen = Outcome.UNAVAILABLE, "", list[RestCandle]()
        for url in self._urls:
            try:
                with _temporary_file() as packed:
                    await self._download.fetch(url, file, packed, progress)
                    outcome, reason, chosen = await self._parse(packed, file, missing, progress)
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
        self._note(file, outcome, reason, len(chosen))
        return chosen

    def forget(self, file: File) -> None:
        """Let a file be asked for again: its rows did not get where they belong."""
        self._asked.pop(file, None)

    async def _parse(
        self, packed: IO[bytes], file: File, missing: Sequence[Run], progress: Callable[[int], None]
    ) -> tuple[Outcome, str, list[RestCandle]]:
        wanted = rows.Wanted(file, missing, self._market.now_ms)
        candles = rows.read(packed, file)
        outcome, reason = Outcome.READ, ""
        try:
            # In slices off the event loop: heartbeats and /health go on.
            while await asyncio.to_thread(wanted.take, candles, _SLICE):
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
        return outcome, reason, chosen

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

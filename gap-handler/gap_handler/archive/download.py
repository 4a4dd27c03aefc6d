"""A file and its checksum by HTTP: bounded, hashed on the way, and no use unless the hashes agree."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import IO, Final

import httpx

from gap_handler.archive.files import File
from gap_handler.archive.outcome import Outcome, UnusableError
from marketdata import outgoing
from marketdata.backoff import delays
from marketdata.binance.rest import answered_by
from marketdata.clock import Clock
from marketdata.outgoing import UNANSWERED

PACKED_MOST: Final = 16 * 2**20
"""A month's zip has 1 to 3 MiB; services have a small file system in memory to put it."""
TRIES: Final = 3
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
FILE_SECONDS: Final = 120.0
"""Whole duration of one try."""
_CHECKSUM_MOST: Final = 4096

Guard = Callable[[str], Awaitable[None]]
"""Told whose files these are, before the first is used; raises ``WrongExchangeError`` to refuse them."""


class Download:
    """Asks one address at a time; how many at once is the number of workers."""

    def __init__(self, clock: Clock, guard: Guard) -> None:
        self._clock = clock
        self._guard = guard
        self._client = outgoing.client(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            headers={"user-agent": "gap-handler", "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def fetch(self, url: str, file: File, into: IO[bytes], progress: Callable[[int], None]) -> None:
        """Write the zip at ``url`` and the file's path into ``into``, its checksum proved.

        ``progress`` is told of every piece (with 0). Raises ``UnusableError``, and ``WrongExchangeError``
        when these are not the files of the exchange whose candles the database holds.
        """
        place = url + file.path
        line = bytearray()
        who = await self._stream(f"{place}.CHECKSUM", _CHECKSUM_MOST, line.clear, line.extend, progress)
        await self._guard(who)
        wanted = _checksum(bytes(line), file)
        digest = hashlib.sha256()

        def restart() -> None:
            nonlocal digest
            digest = hashlib.sha256()
            into.seek(0)
            into.truncate()

        def keep(piece: bytes) -> None:
            digest.update(piece)
            into.write(piece)

        try:
            who = await self._stream(place, PACKED_MOST, restart, keep, progress)
            into.seek(0)
        except OSError as error:
            raise UnusableError(Outcome.UNAVAILABLE, f"the temporary file: {error}") from error
        await self._guard(who)
        if digest.hexdigest() != wanted:
            raise UnusableError(Outcome.CHECKSUM, f"sha256 is {digest.hexdigest()}, published is {wanted}")

    async def _stream(
        self,
        url: str,
        most: int,
        restart: Callable[[], None],
        keep: Callable[[bytes], object],
        progress: Callable[[int], None],
    ) -> str:
        """Give the body's pieces to ``keep``, from the beginning again after a failure that may pass.

        Returns whose answer it is.
        """
        for wait in (*islice(delays(first=0.5, cap=4.0), TRIES - 1), None):
            restart()
            try:
                async with asyncio.timeout(FILE_SECONDS):
                    return await self._once(url, most, keep, progress)
            except UNANSWERED as error:
                if wait is None:
                    reason = f"{type(error).__name__} {error}".strip()
                    raise UnusableError(Outcome.UNAVAILABLE, reason) from error
            progress(0)
            await self._clock.sleep(wait)
        raise AssertionError("the last try raises or returns")

    async def _once(
        self, url: str, most: int, keep: Callable[[bytes], object], progress: Callable[[int], None]
    ) -> str:
        async with self._client.stream("GET", url) as response:
            status = response.status_code
            if status in (403, 404):
                raise UnusableError(Outcome.ABSENT, f"HTTP {status}")
            if status == 429 or status >= 500:
                raise httpx.HTTPStatusError(f"HTTP {status}", request=response.request, response=response)
            if status != 200:
                raise UnusableError(Outcome.REFUSED, f"HTTP {status}")
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > most:
                    raise UnusableError(Outcome.TOO_LARGE, f"more than {most} bytes")
                keep(piece)
                progress(0)
            return answered_by({name.lower(): "" for name in response.headers})


def _checksum(line: bytes, file: File) -> str:
    """Return the hash of a ``.CHECKSUM``: 64 hexadecimal digits, two spaces, the zip's name."""
    found = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](\S+)\s*", line.decode("utf-8", "replace"))
    if found is None or found[2] != f"{file.stem}.zip":
        raise UnusableError(Outcome.CHECKSUM, f"not a checksum of {file.stem}.zip: {line[:100]!r}")
    return found[1].lower()

"""The nudge: tell the gap-handler about a gap. The ledger's row is the truth; a lost nudge loses nothing."""

from __future__ import annotations

import asyncio
from typing import Final

from marketdata import outgoing
from marketdata.log import get_logger
from marketdata.minutes import isoformat
from marketdata.outgoing import UNANSWERED
from marketdata.store.ledger import Gap

log = get_logger(__name__)

_MOST_WAITING: Final = 1000


class Announcer:
    """Posts gaps to ``<url>/backfill`` one after the other; without an address it does nothing."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        # As bytes: a header given as text may hold ASCII only, and a token is what an operator likes.
        self._headers = {b"authorization": f"Bearer {token.strip()}".encode()} if token.strip() else {}
        self._gaps: asyncio.Queue[Gap] = asyncio.Queue(_MOST_WAITING)

    def announce(self, gaps: list[Gap]) -> None:
        """Queue gaps; beyond the queue's size the gap-handler finds them in the ledger by itself."""
        for gap in gaps:
            if self._url and not self._gaps.full():
                self._gaps.put_nowait(gap)

    async def run(self) -> None:
        """Post until cancelled."""
        async with outgoing.client(timeout=5.0, headers=self._headers) as client:
            while True:
                gap = await self._gaps.get()
                body = {"symbol": gap.symbol, "start": isoformat(gap.start), "end": isoformat(gap.end)}
                try:
                    answer = await client.post(f"{self._url}/backfill", json=body)
                except UNANSWERED as error:
                    log.info("gap_not_announced", id=gap.id, reason=type(error).__name__, **body)
                else:
                    log.info("gap_announced", id=gap.id, status=answer.status_code, **body)

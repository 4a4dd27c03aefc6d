"""A gap-handler with a lease of LEASE_SECONDS, as a process that a test can freeze."""

from __future__ import annotations

import asyncio
import os

from gap_handler.server import listen
from gap_handler.service import running
from marketdata import log
from marketdata.settings import load


async def serve() -> None:
    """Run until killed."""
    listening = listen("127.0.0.1", 0)
    log.configure("gap_handler", "info")
    async with running(
        load(os.environ), "", listening, lease_seconds=float(os.environ["LEASE_SECONDS"])
    ) as serving:
        await serving


if __name__ == "__main__":
    asyncio.run(serve())

"""The nudge against a gap-handler that is just going away."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading

import uvloop

from data_feeder.announce import Announcer
from marketdata.models import MINUTE_MS
from marketdata.store.ledger import Gap

GAPS = 900


def test_connections_reset_before_their_first_use_do_not_end_the_announcer() -> None:
    """Under uvloop such a connection fails now and then with an error that is not httpx's."""
    listening = socket.create_server(("127.0.0.1", 0))
    answered = 0

    def reset_all() -> None:
        nonlocal answered
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            answered += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    threading.Thread(target=reset_all, daemon=True).start()

    async def announce() -> bool:
        announcer = Announcer(f"http://127.0.0.1:{listening.getsockname()[1]}")
        announcer.announce([Gap(n, "BTCUSDT", n * MINUTE_MS, (n + 1) * MINUTE_MS) for n in range(GAPS)])
        running = asyncio.create_task(announcer.run())
        while answered < GAPS and not running.done():  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0.05)
        alive = not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return alive

    assert uvloop.run(announce())
    listening.close()

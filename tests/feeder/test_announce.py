"""The feeder's own requests: a gap-handler that is just going away, and the way they take."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading

import pytest
import uvloop

from data_feeder.announce import Announcer
from data_feeder.exchange import listing
from exchange_simulator import Simulator, SimulatorConfig
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


async def test_a_proxy_for_the_world_is_not_asked_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = taken.getsockname()[1]
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{dead}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    config = SimulatorConfig(seed=7, symbols=("BTCUSDT",), history_days=1, stream_port=0, http_port=0)
    async with Simulator(config) as simulator:
        listed = await listing(simulator.api_url, ["BTCUSDT"])
    assert listed.statuses == {"BTCUSDT": "TRADING"}

"""An exchange that stands still in the middle of a minute, and a database that knows its symbol."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.gap_handler.harness import NOW, SYMBOL, Connection, register

from exchange_simulator import Simulator, SimulatorConfig


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Seeded data of nine days; its clock is paused at half past noon's minute."""
    config = SimulatorConfig(
        seed=7,
        symbols=(SYMBOL,),
        history_days=9,
        start_ms=NOW - 10_000,
        speed=1.0,
        stream_port=0,
        http_port=0,
    )
    async with Simulator(config) as running:
        running.clock.pause()
        running.clock.jump(NOW)
        yield running


@pytest.fixture
async def ledger(connection: Connection) -> Connection:
    """A connection to a database in which the feeder has registered the symbol."""
    await register(connection)
    return connection

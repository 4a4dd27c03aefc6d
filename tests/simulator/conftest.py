"""Simulators on free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.simulator.reader import START

from exchange_simulator import Simulator, SimulatorConfig

Simulate = Callable[..., AbstractAsyncContextManager[Simulator]]


@asynccontextmanager
async def _simulate(**settings: Any) -> AsyncIterator[Simulator]:
    settings.setdefault("stream_port", 0)
    settings.setdefault("http_port", 0)
    if "replay" not in settings:
        settings = {"seed": 7, "start_ms": START, "history_days": 3} | settings
    async with Simulator(SimulatorConfig(**settings)) as sim:
        yield sim


@pytest.fixture
def simulate() -> Simulate:
    """Start a simulator: seed 7, three days of history, any setting overridden by keyword."""
    return _simulate


@pytest.fixture
async def standing() -> AsyncIterator[Simulator]:
    """A seeded simulator whose clock is paused half-way through a minute."""
    async with _simulate(start_ms=START + 30_000) as sim:
        sim.clock.pause()
        yield sim


@pytest.fixture
async def fast() -> AsyncIterator[Simulator]:
    """A seeded simulator at max speed."""
    async with _simulate(speed=None) as sim:
        yield sim


@pytest.fixture
async def api(standing: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of ``standing``."""
    async with httpx.AsyncClient(base_url=standing.api_url) as client:
        yield client

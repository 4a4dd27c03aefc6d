"""The edge of every task: what it says of failures, and when it says that they are over."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import asyncpg
import pytest

from gap_handler.exchange_state import ExchangeState
from gap_handler.health import Status, judge
from gap_handler.probe import Seen
from gap_handler.tasks import Idle, forever
from marketdata.errors import UnavailableError


class Hasty:
    """A clock whose sleeps are over at once."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def follow(*outcomes: BaseException | Idle | None) -> list[list[str]]:
    """Run a task through ``outcomes``; return what the database refused before each and after the last."""
    troubles: dict[object, str] = {}
    seen: list[list[str]] = []
    left = list(outcomes)
    over = asyncio.Event()

    async def step() -> Idle | None:
        seen.append(list(troubles.values()))
        if not left:
            over.set()
            await asyncio.Event().wait()
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    task = asyncio.create_task(forever("x", step, Hasty(), troubles=troubles))
    await over.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return seen


async def test_what_the_database_refuses_is_known_until_something_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    full = asyncpg.DiskFullError("No space left on device")
    refused = ["No space left on device (53100)"]
    assert await follow(full, full, Idle.IDLE, None, None) == [[], refused, refused, refused, [], []]
    events = [record.getMessage() for record in caplog.records]
    assert events == ["database_refuses", "task_recovered"], "once each, and nothing of an idle step"


async def test_an_exchange_that_fails_is_no_trouble_of_the_databases() -> None:
    gone = OSError("connection refused")
    away = UnavailableError("no answer")
    assert await follow(gone, away, None) == [[], ["OSError: connection refused"], [], []]


async def test_health_says_what_the_database_refuses() -> None:
    seen = Seen("plain", None, 0, 0, 0, [])
    status, reasons = judge(seen, ExchangeState(Hasty()), [], ["a (53100)", "a (53100)"])
    assert (status, reasons) == (Status.DEGRADED, ["the database refuses work: a (53100)"])

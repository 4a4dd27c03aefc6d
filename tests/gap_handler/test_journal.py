"""What is logged of pieces of work: nothing is lost between lines and sums."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.gap_handler.own_time import Loop, lived

from gap_handler.journal import FEW, FEW_SECONDS, Journal
from marketdata.models import MINUTE_MS
from marketdata.store.ledger import Gap, Work

PIECES = FEW + 30


class LoopClock:
    """The loop's time as a ``Clock``."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return self._loop.time()

    def wall_ms(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def piece(number: int) -> Work:
    return Work(Gap(number, f"S{number}USDT", 0, MINUTE_MS), is_outage=False, attempts=1)


async def work(journal: Journal, number: int, *, waits: bool = False) -> None:
    """Go through the steps of a worker."""
    entry = journal.started(piece(number))
    await asyncio.sleep(0.1)
    entry.say("candles_recovered", candles=2)
    if waits:
        entry.say("backfill_waiting", outcome="waiting", reason="not over")
    else:
        entry.say("backfill_completed", candles=2)


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [r.event_fields for r in caplog.records if r.getMessage() == event]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gap_handler")


def test_many_are_summed_and_every_step_is_in_a_line_or_a_sum(caplog: pytest.LogCaptureFixture) -> None:
    async def burst(loop: Loop) -> None:
        journal = Journal(LoopClock(loop))
        for number in range(PIECES):
            await work(journal, number, waits=number % 10 == 9)
        await asyncio.sleep(1.1)

    lived(lambda: 0.0, burst)
    sums = said(caplog, "backfills_summed")
    assert len(said(caplog, "backfill_started")) == FEW
    assert 2 <= len(sums) <= 4, "30 pieces in 3 s"
    assert sum(each["started"] for each in sums) == PIECES - FEW
    assert sum(each["candles"] for each in sums) == 2 * (PIECES - FEW)
    completed = sum(each["completed"] for each in sums) + len(said(caplog, "backfill_completed"))
    waiting = sum(each["waiting"].get("not over", 0) for each in sums) + len(said(caplog, "backfill_waiting"))
    assert (completed, waiting) == (PIECES - PIECES // 10, PIECES // 10)
    assert sums[0]["symbols"][0] == f"S{FEW}USDT"
    assert len(sums[0]["symbols"]) <= 10


def test_pieces_far_apart_are_told_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    async def slowly(loop: Loop) -> None:
        journal = Journal(LoopClock(loop))
        for number in range(PIECES):
            await work(journal, number)
            await asyncio.sleep(FEW_SECONDS / FEW)

    lived(lambda: 0.0, slowly)
    for event in ("backfill_started", "candles_recovered", "backfill_completed"):
        assert len(said(caplog, event)) == PIECES
    assert said(caplog, "backfill_started")[-1]["symbol"] == f"S{PIECES - 1}USDT"
    assert not said(caplog, "backfills_summed")


def test_what_is_left_is_said_at_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async def burst(loop: Loop) -> None:
        journal = Journal(LoopClock(loop))
        for number in range(FEW + 1):
            journal.started(piece(number))
        journal.say()
        journal.say()

    lived(lambda: 0.0, burst)
    assert [each["started"] for each in said(caplog, "backfills_summed")] == [1]

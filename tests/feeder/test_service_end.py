"""A stop ends every task, also one whose first cancellation was answered by an error of the database."""

from __future__ import annotations

import asyncio
import contextlib

from data_feeder.service import end


async def test_a_task_that_lost_its_cancellation_is_cancelled_again() -> None:
    lost = asyncio.Event()

    async def waits_for_the_database() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(waits_for_the_database())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await end({task})
    assert lost.is_set()
    assert task.cancelled()

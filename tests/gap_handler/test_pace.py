"""How many requests fall into one second, on a loop whose time goes as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle, pairwise
from typing import Final

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gap_handler.odd_server import OddServer, reply
from tests.gap_handler.own_time import Loop, lived

from gap_handler.ip_pool import REQUESTS_A_SECOND, SENT, IpPool
from marketdata.binance.rest import ExchangeInfo
from marketdata.clock import SystemClock

WORKERS: Final = 5
LATE = st.sampled_from([0.0, 0.0004, 0.001, 0.004, 0.03, 0.12, 0.7, 2.5])
"""Seconds by which a busy loop wakes up late."""


def most_in_a_second(sent: list[float]) -> int:
    """Return the most that any half-open second holds: one of them begins with a request."""
    return max(sum(begin <= at < begin + 1 for at in sent) for begin in sent)


async def ask(
    pool: IpPool, loop: Loop, sent: list[float], count: int, took: Callable[[], float], opens: bool = False
) -> None:
    """Be a worker: one request after another until ``count`` are sent by all."""
    while len(sent) < count:
        async with pool.turn() as trace:
            if opens:
                await asyncio.sleep(took())
            sent.append(loop.time())
            await trace(SENT, None)
            await asyncio.sleep(took())


@settings(deadline=None)
@given(
    late=st.lists(LATE, min_size=1, max_size=40),
    took=st.lists(st.sampled_from([0.0, 0.01, 0.2, 1.3]), min_size=1, max_size=10),
    opens=st.booleans(),
    handlers=st.integers(1, REQUESTS_A_SECOND),
    limits=st.lists(st.floats(0.5, 20), max_size=3),
)
def test_no_second_has_more_requests_than_it_may(
    late: list[float], took: list[float], opens: bool, handlers: int, limits: list[float]
) -> None:
    """However late the loop is, however long a connection takes to open, and whatever limits are learnt."""
    sent = list[float]()
    lates, answers = cycle(late), cycle(took)

    async def several(loop: Loop) -> None:
        pool = IpPool("x", SystemClock(), handlers=handlers)
        workers = [
            asyncio.create_task(ask(pool, loop, sent, 60, lambda: next(answers), opens))
            for _ in range(WORKERS)
        ]
        for limit in limits:
            await asyncio.sleep(0.7)
            pool.learn(ExchangeInfo(0, {}, 6000, limit))
        await asyncio.gather(*workers)

    lived(lambda: next(lates), several)
    assert most_in_a_second(sent) * handlers <= REQUESTS_A_SECOND


@pytest.mark.parametrize("late", [0.0, 0.001, 0.004])
def test_a_loop_that_wakes_late_loses_next_to_nothing_and_spaces_evenly(late: float) -> None:
    sent = list[float]()

    async def flat_out(loop: Loop) -> None:
        pool = IpPool("x", SystemClock())
        await asyncio.gather(*(ask(pool, loop, sent, 3000, lambda: 0.05) for _ in range(WORKERS)))

    lived(lambda: late, flat_out)
    assert 2990 / (sent[2990] - sent[0]) >= 0.995 * REQUESTS_A_SECOND - late * 2
    assert min(after - before for before, after in pairwise(sent)) > 0.94 / REQUESTS_A_SECOND


def test_a_turn_that_was_not_used_is_nobodys() -> None:
    """A request that is cancelled before it was sent, or refused by a pause, leaves its turn to the next."""

    async def cancelled(loop: Loop) -> None:
        pool = IpPool("x", SystemClock())
        sent = list[float]()
        for _ in range(30):
            waiting = [asyncio.create_task(ask(pool, loop, sent, 10**6, lambda: 1.0)) for _ in range(12)]
            await asyncio.sleep(0.001)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(2)
        before, sent[:] = loop.time(), []
        await asyncio.gather(*(ask(pool, loop, sent, 10, lambda: 0.0) for _ in range(10)))
        assert sent[9] - before < 1, "all ten are free"

    lived(lambda: 0.0, cancelled)


async def test_the_moment_of_sending_is_heard_of() -> None:
    heard = list[str]()
    async with OddServer(reply(200, b"{}")) as server, httpx.AsyncClient(trust_env=False) as client:

        async def trace(event: str, _: object) -> None:
            heard.append(event)

        await client.get(server.url, extensions={"trace": trace})
    assert SENT in heard

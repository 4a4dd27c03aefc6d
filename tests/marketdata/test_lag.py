"""The event loop's lag, and many observations at once."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import Histogram

from marketdata.clock import SystemClock
from marketdata.lag import watch
from marketdata.metrics import EVENT_LOOP_LAG_SECONDS, ManyHistogram


class Slow(SystemClock):
    """Every sleep takes a quarter of a second longer; the third never ends."""

    def __init__(self) -> None:
        self.now, self.sleeps = 0.0, 0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        if self.sleeps == 3:
            raise asyncio.CancelledError
        self.now += seconds + 0.25


async def test_what_a_task_oversleeps_is_the_lag() -> None:
    before = EVENT_LOOP_LAG_SECONDS._sum.get()
    with pytest.raises(asyncio.CancelledError):
        await watch(Slow())
    assert EVENT_LOOP_LAG_SECONDS._sum.get() - before == pytest.approx(0.5)


def test_many_observations_at_once_are_the_same_as_one_by_one() -> None:
    bounds = (0.1, 1.0, 10.0)
    one, many = Histogram("one", "", buckets=bounds), ManyHistogram("many", "", buckets=bounds)
    amounts = [5.0, 0.1, 0.05, 1.0, 11.0, 10.0, -1.0]
    for amount in amounts:
        one.observe(amount)
    many.observe_all(amounts)
    many.observe_all([])

    def samples(histogram: Histogram) -> list[tuple[str, str, float]]:
        return [
            (sample.name.partition("_")[2], sample.labels.get("le", ""), sample.value)
            for metric in histogram.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(many) == samples(one)

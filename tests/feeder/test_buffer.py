"""The buffer presses back, then gives up its oldest candles and says so."""

import asyncio

from data_feeder.buffer import Buffer, Item
from data_feeder.sequence import Hole
from marketdata.models import Candle


def item(minute: int) -> Item:
    return Item(Candle("B", minute * 60_000, 1, 1, 1, 1, 0, 0, 0, 0, 0), 0, 0.0, True)


async def test_candles_stay_until_dropped() -> None:
    buffer = Buffer()
    await buffer.put(item(1))
    await buffer.put(item(2))
    batch = buffer.peek(10)
    assert [i.candle.time for i in batch] == [60_000, 120_000]
    assert len(buffer) == 2
    await buffer.put(item(3))
    buffer.drop(batch)
    assert [i.candle.time for i in buffer.peek(10)] == [180_000]


async def test_a_full_buffer_waits_for_room() -> None:
    buffer = Buffer(capacity=1, press_back=30)
    await buffer.put(item(1))
    second = asyncio.create_task(buffer.put(item(2)))
    await asyncio.sleep(0.01)
    assert not second.done()
    buffer.drop(buffer.peek(1))
    await second
    assert buffer.take_holes() == []
    assert [i.candle.time for i in buffer.peek(2)] == [120_000]


async def test_beyond_the_time_allowed_the_oldest_is_given_up_and_reading_goes_on() -> None:
    buffer = Buffer(capacity=2, press_back=0.02)
    for minute in range(1, 5):
        await buffer.put(item(minute))
    assert buffer.take_holes() == [Hole("B", 60_000, 180_000, "buffer")]
    assert [i.candle.time for i in buffer.peek(5)] == [180_000, 240_000]


async def test_only_the_first_overflow_waits() -> None:
    buffer = Buffer(capacity=1, press_back=0.05)
    await buffer.put(item(1))
    await buffer.put(item(2))
    async with asyncio.timeout(0.04):
        for minute in range(3, 30):
            await buffer.put(item(minute))


async def test_wait_ends_for_holes_and_books_too() -> None:
    buffer = Buffer()
    buffer.add_hole(Hole("B", 0, 60_000, "jump"))
    await asyncio.wait_for(buffer.wait(), 1)
    assert len(buffer.take_holes()) == 1
    waiting = asyncio.create_task(buffer.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()

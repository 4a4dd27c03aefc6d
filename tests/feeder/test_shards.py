"""Several feeders on one database: each its part, nothing twice, and nobody in another's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.feeder.conftest import T0, eventually, running_feeder, stored
from tests.feeder.feature_rows import (
    HandClock,
    at,
    candle,
    history,
    like_batch,
    nothing_stale,
    settled,
    write,
)

from data_feeder.features import FeatureTask
from data_feeder.live import REFERENCE_POLL_SECONDS
from data_feeder.patience import IN_VAIN_MOST, REFERENCE_SECONDS, ReferencePatience
from exchange_simulator import Simulator, SimulatorConfig
from marketdata import database as db
from marketdata.clock import Clock, MarketClock, SystemClock
from marketdata.database import Connection
from marketdata.features.columns import REFERENCE
from marketdata.features.registry import NAMES
from marketdata.settings import DatabaseSettings
from marketdata.shards import Shard
from marketdata.store import shards, symbols

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
"""Of two shards the first has ETHUSDT, the second the others."""
LISTED = ",".join(SYMBOLS)
_BESIDE = "SELECT values[$1] IS NOT NULL FROM feature_values WHERE symbol = $2 AND time = $3"


def config(**changes: Any) -> SimulatorConfig:
    values: dict[str, Any] = {
        "seed": 7, "symbols": SYMBOLS, "start_ms": T0, "history_days": 2, "speed": 120.0, "stream_port": 0,
        "http_port": 0,
    }  # fmt: skip
    return SimulatorConfig(**(values | changes))


async def minutes_pass(connection: Connection, minutes: int, symbol: str) -> None:
    async def enough() -> bool:
        count = await connection.fetchval("SELECT count(*) FROM candles_1m WHERE symbol = $1", symbol)
        return bool(count >= minutes)

    await eventually(enough, f"{minutes} candles of {symbol}", 60)


async def everything(connection: Connection, query: str) -> list[Any]:
    return [record[0] for record in await connection.fetch(query)]


class Part:
    """The feature task of one shard, beside a real database."""

    def __init__(self, database: DatabaseSettings, shard: str, clock: Clock | None = None) -> None:
        number, of = shard.split("/")
        self.task = FeatureTask(
            database, MarketClock(), clock or SystemClock(), SYMBOLS, Shard(int(number), int(of))
        )

    async def __aenter__(self) -> FeatureTask:
        self._runs = asyncio.create_task(self.task.run())
        return self.task

    async def __aexit__(self, *_: object) -> None:
        self._runs.cancel()
        await asyncio.gather(self._runs, return_exceptions=True)


async def holders(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE classid = $1", shards.KEY))


async def test_two_feeders_do_everything_once(database: DatabaseSettings, connection: Connection) -> None:
    async with Simulator(config()) as simulator:
        async with (
            running_feeder(database, simulator, SHARD="1/2") as one,
            running_feeder(database, simulator, SHARD="2/2") as two,
        ):
            for symbol in SYMBOLS:
                await minutes_pass(connection, 6, symbol)
            for health, count in ((one, 1), (two, 2)):
                code, body = await health()
                assert (code, body["symbols"]) == (200, count)
                assert body["candles_processed"] >= 4 * count
            assert await holders(connection) == 2
        for symbol in SYMBOLS:
            rows = await stored(connection, symbol)
            assert rows == simulator.candles(symbol, rows[0].time, rows[-1].time + 1)
        assert await everything(connection, "SELECT symbol FROM symbols ORDER BY 1") == list(SYMBOLS)
        assert not await everything(connection, "SELECT 1 FROM symbols WHERE expected_until IS NOT NULL")
        gaps = await everything(connection, "SELECT symbol FROM data_quality_logs WHERE event_type = 'gap'")
        assert sorted(set(gaps)) == list(SYMBOLS), "each audited its own history"


async def test_a_feeder_retires_what_its_own_shard_no_longer_captures(
    database: DatabaseSettings, connection: Connection
) -> None:
    names = dict.fromkeys((*SYMBOLS, "BNBUSDT", "XRPUSDT"), "TRADING")
    await symbols.register(connection, names, now_ms=T0, history_days=1)
    retired = "SELECT symbol FROM symbols WHERE expected_until IS NOT NULL ORDER BY 1"
    async with Simulator(config()) as simulator:
        # BNBUSDT is the first shard's, XRPUSDT the second's, which may have another list at this moment.
        async with running_feeder(database, simulator, SHARD="1/2"):
            await minutes_pass(connection, 1, "ETHUSDT")
            assert await everything(connection, retired) == ["BNBUSDT"]
        async with running_feeder(database, simulator, SHARD="2/2", SYMBOLS="BTCUSDT"):
            await minutes_pass(connection, 1, "BTCUSDT")
            assert await everything(connection, retired) == ["BNBUSDT", "SOLUSDT", "XRPUSDT"]
        async with running_feeder(database, simulator):
            await minutes_pass(connection, 2, "SOLUSDT")
            assert await everything(connection, retired) == ["BNBUSDT", "XRPUSDT"]


async def test_a_shard_without_symbols_says_so_and_stays(
    database: DatabaseSettings, connection: Connection
) -> None:
    await symbols.register(connection, {"BNBUSDT": "TRADING"}, now_ms=T0, history_days=1)
    await connection.execute("SELECT advance_market_clock($1)", T0)
    async with (
        Simulator(config()) as simulator,
        running_feeder(database, simulator, SHARD="1/2", SYMBOLS="BTCUSDT") as health,
    ):

        async def said() -> bool:
            code, body = await health()
            return (
                code == 200 and body["status"] == "degraded" and "SHARD=1/2 has none" in str(body["reasons"])
            )

        await eventually(said, "degraded health that says why")
        retired = "SELECT symbol FROM symbols WHERE expected_until IS NOT NULL"
        assert await everything(connection, retired) == ["BNBUSDT"], "what it captured before"


async def test_a_shard_started_twice_stands_by_and_takes_over(
    database: DatabaseSettings, connection: Connection
) -> None:
    async with Simulator(config()) as simulator:
        async with running_feeder(database, simulator, SHARD="2/2") as first:
            await minutes_pass(connection, 3, "BTCUSDT")
            assert (await first())[1]["status"] == "healthy"
            second = running_feeder(database, simulator, SHARD="2/2")
            health = await second.__aenter__()
            try:

                async def waits() -> bool:
                    code, body = await health()
                    return code == 200 and "shard 2/2 waits until" in str(body["reasons"])

                await eventually(waits, "health that names who is in the way")
                seen = (await health())[1]["candles_processed"]

                async def captures() -> bool:
                    return bool((await health())[1]["candles_processed"] > seen)

                await eventually(captures, "it captures meanwhile")
                assert (await first())[1]["status"] == "healthy"
            except BaseException:
                await second.__aexit__(None, None, None)
                raise
        try:

            async def healthy() -> bool:
                return bool((await health())[1]["status"] == "healthy")

            await eventually(healthy, "it takes over")
            before = await connection.fetchval("SELECT count(*) FROM feature_values")

            async def more() -> bool:
                return bool(await connection.fetchval("SELECT count(*) FROM feature_values") > before + 4)

            await eventually(more, "rows go on")
        finally:
            await second.__aexit__(None, None, None)
        for symbol in ("BTCUSDT", "SOLUSDT"):
            rows = await stored(connection, symbol)
            assert rows == simulator.candles(symbol, rows[0].time, rows[-1].time + 1), "nothing was lost"


async def test_shards_of_another_number_wait_for_each_other(database: DatabaseSettings) -> None:
    async def session() -> Connection:
        return await db.connect(database, "test-shards")

    one, two, three, again = [await session() for _ in range(4)]
    try:
        assert await shards.claim(one, Shard(1, 2)) == []
        assert await shards.claim(two, Shard(2, 2)) == []
        in_the_way = await shards.claim(three, Shard(2, 3))
        assert [text.split()[0] for text in in_the_way] == ["1/2", "2/2"]
        assert [text.split()[0] for text in await shards.claim(again, Shard(2, 2))] == ["2/2"]
        await one.close()
        await two.close()

        async def free() -> bool:
            return not await shards.claim(three, Shard(2, 3))

        await eventually(free, "a shard whose holder is gone is free")
        assert [text.split()[0] for text in await shards.claim(again, Shard(1, 2))] == ["2/3"]
        assert await shards.claim(again, Shard(1, 3)) == []
    finally:
        for each in (one, two, three, again):
            await each.close()


async def test_of_feeders_that_come_at_once_one_has_the_shard(database: DatabaseSettings) -> None:
    sessions = [await db.connect(database, "test-shards") for _ in range(5)]
    try:
        wanted = [Shard(1, 1), Shard(1, 2), Shard(1, 3), Shard(1, 1), Shard(1, 2)]
        answers = await asyncio.gather(
            *(shards.claim(each, shard) for each, shard in zip(sessions, wanted, strict=True))
        )
        assert answers.count([]) == 1
    finally:
        for each in sessions:
            await each.close()


async def test_rows_of_a_shard_wait_for_the_reference_that_another_stores(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, 300)
    clock = HandClock()
    place = NAMES.index("btc_correlation_60m") + 1
    async with Part(database, "2/2"), Part(database, "1/2", clock) as task:
        await settled(connection)
        for n in range(4):
            start, first = clock.now, bool(n % 2)
            if first:
                # Stored by its own feeder; nobody tells this one.
                await write(connection, REFERENCE, [n], head=True)
            task.offer(await write(connection, "ETHUSDT", [n], head=True), [], True)
            if not first:
                await write(connection, REFERENCE, [n], head=True)

            async def there(minute: int = n + 1, least: float = start, waits: bool = not first) -> bool:
                if waits and clock.now < least + 0.9 * REFERENCE_SECONDS:
                    clock.pass_by(REFERENCE_POLL_SECONDS / 5)
                return await connection.fetchval(_BESIDE, place, "ETHUSDT", at(minute)) is not None

            await eventually(there, f"the row of minute {n}")
            assert await connection.fetchval(_BESIDE, place, "ETHUSDT", at(n + 1)), "beside the reference"
            assert await nothing_stale(connection), "written once, by one"
    assert await like_batch(connection, ["ETHUSDT"])


async def test_a_row_without_the_reference_is_written_again_by_its_own_shard(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, 300)
    clock = HandClock()
    async with Part(database, "2/2") as other, Part(database, "1/2", clock) as task:
        await settled(connection)
        task.offer(await write(connection, "ETHUSDT", [0], head=True), [], True)

        async def there() -> bool:
            clock.pass_by(0.05)
            return await connection.fetchval(_BESIDE, 1, "ETHUSDT", at(1)) is not None

        await eventually(there, "the row of minute 0 without the reference")
        other.offer(await write(connection, REFERENCE, [0], head=True), [], True)

        async def whole() -> bool:
            clock.pass_by(0.5)
            return await nothing_stale(connection) and await like_batch(connection)

        await eventually(whole, "every row is what batch says", 60)


async def test_each_shard_computes_the_stale_rows_of_its_own_names(
    database: DatabaseSettings, connection: Connection
) -> None:
    await history(connection, 30)
    async with Part(database, "1/2") as one:

        async def own() -> bool:
            return one.rows_written == 30

        await eventually(own, "the rows of ETHUSDT")

        async def left() -> bool:
            marked = await everything(connection, "SELECT DISTINCT symbol FROM stale_features ORDER BY 1")
            return marked == ["BTCUSDT", "SOLUSDT"]

        await eventually(left, "the marks of its own names to be settled, and no others")
        async with Part(database, "2/2") as two:
            await settled(connection)
            assert (one.rows_written, two.rows_written) == (30, 60)


def test_a_reference_stored_elsewhere_is_looked_for_while_it_may_be_punctual() -> None:
    patience = ReferencePatience(captured=True)
    assert patience.wants(0.0) is None, "nothing waits"
    for n in range(IN_VAIN_MOST + 1):
        patience.committed(candle("ETHUSDT", n), n * 60.0)
        assert patience.wants(n * 60.0) == at(n)
        assert patience.wants(n * 60.0 + REFERENCE_SECONDS + 0.1) is None, "too late to wait for"
        patience.waits(candle("ETHUSDT", n), n * 60.0 + REFERENCE_SECONDS)
    # Nobody waits any more, but its return is noticed.
    patience.committed(candle("ETHUSDT", 9), 600.0)
    assert patience.waits(candle("ETHUSDT", 9), 600.0) == 0.0
    assert patience.wants(600.0) == at(9)
    patience.stored(at(9), 600.3)
    assert patience.wants(600.3) is None
    patience.committed(candle("ETHUSDT", 10), 660.0)
    assert patience.waits(candle("ETHUSDT", 10), 660.0) == pytest.approx(REFERENCE_SECONDS)

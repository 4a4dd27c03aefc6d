"""Longer candles, accuracy, clean-up, and the fallback scheduler."""

import asyncio

import asyncpg
import pytest
from tests.database.conftest import T0, candle, minute, store

from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Source
from marketdata.store import candles


async def test_five_minute_bars(market: Connection) -> None:
    rows = [candle(n, 1.0 + n / 10) for n in range(11) if n != 7]
    await candles.write(market, [candles.Row(c, c.time + 60_020) for c in rows], source=Source.REST)
    bars = await market.fetch("SELECT * FROM candles_5m WHERE symbol = 'BTCUSDT' ORDER BY time")
    assert [(b["time"] - T0) // MINUTE_MS for b in bars] == [0, 5, 10]
    assert [b["minutes"] for b in bars] == [5, 4, 1]
    assert bars[0]["open"] == 1.0
    assert bars[0]["close"] == rows[4].close
    assert bars[0]["volume"] == 50.0
    assert bars[0]["trades"] == 15
    for name in ("candles_1h", "candles_4h", "candles_1d"):
        (bar,) = await market.fetch(f"SELECT time, minutes, close, high, low FROM {name}")  # a constant name
        assert tuple(bar) == (T0, 10, 2.0, 2.0, 0.5)


async def test_a_repair_below_the_watermark_is_shown_after_a_refresh(market: Connection) -> None:
    if await market.fetchval("SELECT server_kind()") != "community":
        pytest.skip("no continuous aggregates on this server")
    await store(market, [n for n in range(3000) if not 10 <= n < 20])
    for name in ("candles_5m", "candles_1h", "candles_4h", "candles_1d"):
        await market.execute(f"CALL refresh_continuous_aggregate('{name}', NULL, NULL)")
    assert await market.fetchval("SELECT minutes FROM candles_1d ORDER BY time LIMIT 1") == 1430
    await store(market, range(10, 20))
    await market.execute("CALL refresh_rollups($1::timestamptz, $2::timestamptz)", minute(10), minute(20))
    assert await market.fetchval("SELECT minutes FROM candles_1d ORDER BY time LIMIT 1") == 1440
    assert await market.fetchval("SELECT sum(minutes) FROM candles_5m") == 3000
    assert await market.fetchval("SELECT sum(minutes) FROM candles_1h") == 3000


async def predict(
    connection: Connection, n: float, horizon: int, price: float, *, confidence: float | None, at: float
) -> None:
    await connection.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, confidence, created_at)"
        " VALUES ('BTCUSDT', $1, 'm', $2, $3, $4, $5)", minute(n), horizon, price, confidence, minute(at),
    )  # fmt: skip


async def test_accuracy_is_what_it_says(market: Connection) -> None:
    rows = [candle(n, 1.0 + n / 100) for n in range(50)]
    await candles.write(market, [candles.Row(c, c.time + 60_020) for c in rows], source=Source.REST)
    # At minute 10 the price is candle 9's close, 1.09; five minutes later candle 14's, 1.14.
    await predict(market, 10, 5, 1.20, confidence=0.8, at=10)
    await predict(market, 20, 5, 1.10, confidence=0.6, at=20)
    await predict(market, 30, 5, 1.34, confidence=None, at=36)  # written after its target
    await predict(market, 98, 5, 1.50, confidence=0.5, at=98)  # its target is not reached
    await market.execute("CALL nightly_accuracy()")
    scored = await market.fetch("SELECT actual, error FROM predictions ORDER BY time")
    assert [r["actual"] for r in scored] == [rows[14].close, rows[24].close, None, None]
    assert scored[0]["error"] == pytest.approx(0.06)
    (row,) = await market.fetch("SELECT * FROM prediction_accuracy")
    assert row["scored"] == 2
    assert row["hit_rate"] == 0.5
    assert row["mae"] == pytest.approx((0.06 + 0.14) / 2)
    assert row["rmse"] == pytest.approx(((0.06**2 + 0.14**2) / 2) ** 0.5)
    assert row["brier"] == pytest.approx((0.2**2 + 0.6**2) / 2)
    assert row["baseline_mae"] == pytest.approx(0.05)


async def test_accuracy_follows_a_corrected_candle_and_a_second_run_changes_nothing(
    market: Connection,
) -> None:
    await store(market, range(50))
    await predict(market, 10, 5, 1.20, confidence=0.8, at=10)
    await market.execute("CALL nightly_accuracy()")
    before = await market.fetch("SELECT * FROM prediction_accuracy")
    await market.execute("CALL nightly_accuracy(7, '{}')")
    assert await market.fetch("SELECT * FROM prediction_accuracy") == before
    await candles.write(market, [candles.Row(candle(14, 1.9), minute(99))], source=Source.ARCHIVE)
    await market.execute("CALL nightly_accuracy()")
    assert await market.fetchval("SELECT actual FROM predictions") == 1.9


async def test_created_at_is_the_servers_and_the_markets_in_a_replay(market: Connection) -> None:
    await market.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
        " VALUES ('B', $1, 'm', 5, 1)",
        minute(1),
    )
    assert await market.fetchval("SELECT created_at = market_now() FROM predictions")
    await market.execute("UPDATE platform_state SET policies = true; DELETE FROM predictions")
    await market.execute(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
        " VALUES ('B', $1, 'm', 5, 1)",
        minute(1),
    )
    assert await market.fetchval("SELECT created_at >= now() - interval '1 minute' FROM predictions")


@pytest.mark.parametrize(("price", "confidence"), [(-1.0, None), (float("nan"), None), (1.0, 1.5)])
async def test_impossible_predictions_are_refused(
    market: Connection, price: float, confidence: float | None
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await predict(market, 1, 5, price, confidence=confidence, at=1)


async def test_cleanup_drops_what_is_past_its_time_by_the_markets_clock(market: Connection) -> None:
    if await market.fetchval("SELECT server_kind()") == "community":
        pytest.skip("this server has retention policies of its own")
    await store(market, range(5))
    await predict(market, 1, 5, 1.0, confidence=None, at=1)
    await market.execute("UPDATE platform_state SET policies = true")
    await market.execute("CALL nightly_cleanup()")
    assert await market.fetchval("SELECT count(*) FROM candles_1m") == 5
    await market.execute("SELECT advance_market_clock($1)", minute(200 * 1440))
    await market.execute("CALL nightly_cleanup()")
    assert await market.fetchval("SELECT count(*) FROM predictions") == 0
    assert await market.fetchval("SELECT count(*) FROM candles_1m") == 5
    await market.execute("SELECT advance_market_clock($1)", minute(500 * 1440))
    await market.execute("CALL nightly_cleanup()")
    assert await market.fetchval("SELECT count(*) FROM candles_1m") == 0


async def test_an_absurd_exchange_time_deletes_nothing(market: Connection) -> None:
    await market.execute(
        "INSERT INTO candles_1m SELECT 'NEWUSDT', floor_minute(now() - interval '1 day'),"
        " 1, 1, 1, 1, 0, 0, 0, 0, 0, 'rest', now()"
    )
    await market.execute("UPDATE platform_state SET policies = true")
    await market.execute("SELECT advance_market_clock('2049-01-01'::text::timestamptz)")
    await market.execute("CALL nightly_cleanup()")
    assert await market.fetchval("SELECT count(*) FROM candles_1m") == 1


async def test_a_replayed_database_is_never_cleaned(market: Connection) -> None:
    await store(market, range(5))
    await market.execute("SELECT advance_market_clock($1)", minute(900 * 1440))
    await market.execute("CALL nightly_cleanup()")
    assert await market.fetchval("SELECT count(*) FROM candles_1m") == 5


async def test_the_fallback_scheduler_hands_each_job_out_once(market: Connection) -> None:
    assert await market.fetchval("SELECT take_due_job()") is None
    await market.execute("UPDATE nightly_jobs SET next_run = now() - interval '1 minute'")
    names = [await market.fetchval("SELECT take_due_job()") for _ in range(3)]
    if await market.fetchval("SELECT server_kind()") == "community":
        assert names == [None, None, None], "TimescaleDB's own scheduler runs them"
        return
    assert sorted(name for name in names if name) == ["nightly_accuracy", "nightly_cleanup"]
    due = await market.fetch(
        "SELECT next_run > now() AS later, to_char(next_run, 'HH24:MI') = to_char(run_at, 'HH24:MI') AS at"
        " FROM nightly_jobs"
    )
    assert all(row["later"] and row["at"] for row in due)


async def test_each_job_runs_once_at_its_hour_of_utc_and_once_after_nights_slept_through(
    market: Connection,
) -> None:
    if await market.fetchval("SELECT server_kind()") == "community":
        pytest.skip("TimescaleDB's own scheduler runs them")
    await market.execute("SET TIME ZONE 'America/New_York'")
    hours = {"nightly_cleanup": 2, "nightly_accuracy": 3}
    day = 1440 * MINUTE_MS

    async def planned() -> dict[str, int]:
        return {
            r["name"]: r["next_run"] for r in await market.fetch("SELECT name, next_run FROM nightly_jobs")
        }

    def next_at(hour: int, now: int) -> int:
        today = now // day * day + hour * 60 * MINUTE_MS
        return today if today > now else today + day

    assert {name: time % day // (60 * MINUTE_MS) for name, time in (await planned()).items()} == hours
    # Asleep for nights: each is due once, and then at its own hour again.
    await market.execute("UPDATE nightly_jobs SET next_run = next_run - interval '96 hours'")
    before = await market.fetchval("SELECT now()")
    taken = [await market.fetchval("SELECT take_due_job()") for _ in range(4)]
    after = await market.fetchval("SELECT now()")
    assert sorted(name for name in taken[:2]) == sorted(hours)
    assert taken[2:] == [None, None]
    found = await planned()
    assert all(found[name] in {next_at(hour, before), next_at(hour, after)} for name, hour in hours.items())


async def test_the_servers_own_scheduler_catches_up_once_after_nights_slept_through(
    market: Connection,
) -> None:
    if await market.fetchval("SELECT server_kind()") != "community":
        pytest.skip("the gap-handler runs the jobs on this server")
    job = await market.fetchval(
        "SELECT add_job('nightly_accuracy', interval '1 day', fixed_schedule => true, timezone => 'UTC',"
        " initial_start => date_bin('24 hours', now(), '2000-01-01Z') - interval '69 hours')"
    )
    runs = (
        "SELECT total_runs, total_successes, next_start FROM timescaledb_information.job_stats"
        " WHERE job_id = $1"
    )
    async with asyncio.timeout(60):
        # Its only announcement is its row.
        while not ((row := await market.fetchrow(runs, job)) and row["total_successes"]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert row["total_runs"] == row["total_successes"] == 1
    hour, now = 60 * MINUTE_MS, await market.fetchval("SELECT now()")
    assert now < row["next_start"] <= now + 24 * hour
    assert row["next_start"] % (24 * hour) == 3 * hour

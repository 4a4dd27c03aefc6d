"""``nightly_accuracy`` against the same figures computed in plain Python, night after night."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import pytest
from tests.database.conftest import T0, minute

from marketdata import database as db
from marketdata.database import Connection
from marketdata.models import Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles

DAY = 1440
SYMBOLS = ("BTCUSDT", "ETHUSDT")
HORIZONS = (1, 15, 240, 1440)


class Prediction(NamedTuple):
    """One row, times in minutes since ``T0``; ``created`` the same."""

    symbol: str
    time: float
    model: str
    horizon: int
    predicted: float
    confidence: float | None
    created: float


@dataclass
class World:
    """What the database should hold: closes by symbol and minute, and the predictions."""

    closes: dict[tuple[str, int], float] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)

    def actual(self, p: Prediction, now: float) -> float | None:
        """The close of the last minute that is over at the target; None while it is not known or too late."""
        target = p.time + p.horizon
        if target > now or p.created > target or p.symbol not in SYMBOLS:
            return None
        return self.closes.get((p.symbol, math.floor(target) - 1))

    def price(self, p: Prediction) -> float | None:
        """The last close before the decision, from the day before on."""
        last = math.floor(p.time) - 1
        first = math.floor(p.time / DAY) * DAY - DAY
        known = (self.closes.get((p.symbol, n)) for n in range(last, first - 1, -1))
        return next((close for close in known if close is not None), None)

    def accuracy(self, now: float) -> dict[tuple[str, str, int, date], dict[str, float | None]]:
        """Every row of ``prediction_accuracy`` by model, symbol, horizon and day."""
        groups: dict[tuple[str, str, int, date], list[Prediction]] = defaultdict(list)
        for p in self.predictions:
            if self.actual(p, now) is not None:
                day = (datetime.fromtimestamp(T0 / 1000, UTC) + timedelta(minutes=p.time)).date()
                groups[p.model, p.symbol, p.horizon, day].append(p)
        return {key: self._figures(group, now) for key, group in groups.items()}

    def _figures(self, group: list[Prediction], now: float) -> dict[str, float | None]:
        errors, baseline, hits, brier = [], [], [], []
        for p in group:
            actual, price = self.actual(p, now), self.price(p)
            assert actual is not None
            errors.append(p.predicted - actual)
            if price is None:
                continue
            baseline.append(price - actual)
            hit = _sign(p.predicted - price) == _sign(actual - price)
            hits.append(float(hit))
            if p.confidence is not None:
                brier.append((p.confidence - hit) ** 2)
        return {
            "scored": len(group),
            "hit_rate": _mean(hits),
            "mae": _mean([abs(e) for e in errors]),
            "rmse": math.sqrt(math.fsum(e * e for e in errors) / len(errors)),
            "brier": _mean(brier),
            "baseline_mae": _mean([abs(e) for e in baseline]),
            "baseline_rmse": math.sqrt(math.fsum(e * e for e in baseline) / len(baseline))
            if baseline
            else None,
        }


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


async def insert(connection: Connection, rows: list[Prediction]) -> None:
    await connection.executemany(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, confidence, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(*row[:1], minute(row.time), *row[2:6], minute(row.created)) for row in rows],
    )


async def close_at(
    connection: Connection, closes: dict[tuple[str, int], float], source: Source = Source.REST
) -> None:
    """Store candles with these closes, known when this is called."""
    rows = [
        candles.Row(
            Candle(symbol, minute(n), close, close, close, close, 1.0, 1.0, 1, 0.5, 0.5), minute(n + 1) + 20
        )
        for (symbol, n), close in sorted(closes.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    for start in range(0, len(rows), 5000):
        await candles.write(connection, rows[start : start + 5000], source=source)


async def night(connection: Connection, now: float) -> None:
    await connection.execute("SELECT advance_market_clock($1)", minute(now))
    await connection.execute("CALL nightly_accuracy()")


async def check(connection: Connection, world: World, now: float) -> None:
    """Compare both tables with the model."""
    stored = await connection.fetch(
        "SELECT symbol, time, model, horizon_minutes, predicted, actual, error FROM predictions"
    )
    by_key = {
        (r["symbol"], r["time"], r["model"], r["horizon_minutes"]): (r["actual"], r["error"]) for r in stored
    }
    for p in world.predictions:
        actual = world.actual(p, now)
        expected = (None, None) if actual is None else (actual, p.predicted - actual)
        assert by_key[p.symbol, minute(p.time), p.model, p.horizon] == expected, p
    rows = await connection.fetch("SELECT * FROM prediction_accuracy")
    found = {(r["model"], r["symbol"], r["horizon_minutes"], r["day"]): dict(r) for r in rows}
    expected_rows = world.accuracy(now)
    assert found.keys() == expected_rows.keys()
    for key, figures in expected_rows.items():
        assert {name: found[key][name] for name in figures} == pytest.approx(figures, abs=1e-12), key


def draw(rng: random.Random, closes: dict[tuple[str, int], float], minutes: range) -> list[Prediction]:
    """Predictions of every sort: ties, late rows, odd seconds, symbols nobody captures."""
    rows: dict[tuple[Any, ...], Prediction] = {}
    for _ in range(400):
        symbol = rng.choice((*SYMBOLS, "NOBODY"))
        time = rng.choice(minutes) + rng.choice((0, 0, 0, 0.25, 0.75))
        model, horizon = rng.choice(("ridge", "net", "still")), rng.choice(HORIZONS)
        price = closes.get((symbol, math.floor(time) - 1), 5.0)
        # Few levels, so that a move of nothing is predicted and happens.
        predicted = price if model == "still" else rng.choice((4.0, 5.0, 6.0, rng.uniform(4, 6)))
        confidence = rng.choice((None, 0.0, 1.0, rng.random()))
        created = time + rng.choice((0.01, 0.01, 0.01, horizon, horizon + 0.01))
        rows[symbol, time, model, horizon] = Prediction(
            symbol, time, model, horizon, predicted, confidence, created
        )
    return list(rows.values())


@pytest.fixture
async def scored(market: Connection, database: DatabaseSettings) -> AsyncIterator[Connection]:
    """A session of New York's: days of UTC must not follow it. Both symbols are registered."""
    await market.execute(
        "INSERT INTO symbols (symbol, status, history_start)"
        " SELECT 'ETHUSDT', status, history_start FROM symbols"
    )
    connection = await db.connect(database, "test-new-york")
    await connection.execute("SET TIME ZONE 'America/New_York'")
    yield connection
    await connection.close()


@pytest.mark.parametrize("seed", range(4))
async def test_figures_are_those_of_plain_python(scored: Connection, seed: int) -> None:
    """Three nights: with a hole and an outage; the hole filled and candles corrected; nothing new."""
    rng = random.Random(seed)
    world = World()
    end = 3 * DAY
    walk = {(s, n): float(rng.choice((4, 5, 5, 6))) for s in SYMBOLS for n in range(end)}
    hole = {(s, n) for s in SYMBOLS for n in range(DAY - 30, DAY + 30)}
    outage = {(s, n) for s in SYMBOLS for n in range(2 * DAY + 100, 2 * DAY + 140)}
    now = end - 200 + 0.5
    later = {key for key in walk if key[1] + 1 > now}
    world.closes = {key: close for key, close in walk.items() if key not in hole | outage | later}
    world.predictions = draw(rng, walk, range(end - 10))
    await close_at(scored, world.closes)
    await insert(scored, world.predictions)
    await night(scored, now)
    await check(scored, world, now)

    filled = {key: walk[key] for key in hole | later}
    corrected = {key: 5.5 for key in rng.sample(sorted(world.closes), 200)}
    world.closes |= filled | corrected
    await close_at(scored, filled)
    await close_at(scored, corrected, Source.ARCHIVE)
    now = end + 2 * DAY
    await night(scored, now)
    await check(scored, world, now)

    before = await scored.fetch(
        "SELECT xmin, * FROM prediction_accuracy ORDER BY model, symbol, horizon_minutes, day"
    )
    await night(scored, now)
    after = await scored.fetch(
        "SELECT xmin, * FROM prediction_accuracy ORDER BY model, symbol, horizon_minutes, day"
    )
    assert after == before
    await check(scored, world, now)


async def one(connection: Connection, prediction: Prediction) -> None:
    await insert(connection, [prediction])


async def accuracy(connection: Connection) -> dict[str, Any]:
    """The only row there is."""
    (row,) = await connection.fetch("SELECT * FROM prediction_accuracy")
    return dict(row)


@pytest.mark.parametrize(
    ("predicted", "actual", "hit"),
    [
        (5.1, 5.2, 1),
        (5.1, 4.9, 0),
        (4.9, 4.8, 1),
        (5.0, 5.0, 1),  # no move was predicted, and none came
        (5.0, 5.1, 0),
        (5.1, 5.0, 0),
    ],
)
async def test_a_hit_is_the_same_direction_of_three(
    scored: Connection, predicted: float, actual: float, hit: int
) -> None:
    await close_at(scored, {("BTCUSDT", 9): 5.0, ("BTCUSDT", 14): actual})
    await one(scored, Prediction("BTCUSDT", 10, "m", 5, predicted, 0.75, 10))
    await night(scored, 100)
    row = await accuracy(scored)
    assert (row["hit_rate"], row["brier"]) == (hit, (0.75 - hit) ** 2)


async def test_a_decision_in_an_outage_starts_from_the_last_price(scored: Connection) -> None:
    await close_at(scored, {("BTCUSDT", 3): 5.0, ("BTCUSDT", 14): 5.5})
    await one(scored, Prediction("BTCUSDT", 10, "m", 5, 6.0, None, 10))
    await night(scored, 100)
    row = await accuracy(scored)
    assert (row["hit_rate"], row["baseline_mae"], row["brier"]) == (1, 0.5, None)


async def test_a_corrected_price_of_the_decision_is_followed(scored: Connection) -> None:
    """Nothing about the prediction's own row changes: the last seven days are looked at every night."""
    await close_at(scored, {("BTCUSDT", 9): 5.0, ("BTCUSDT", 14): 5.5}, Source.STREAM)
    await one(scored, Prediction("BTCUSDT", 10, "m", 5, 5.2, None, 10))
    await night(scored, 100)
    assert (await accuracy(scored))["hit_rate"] == 1
    await close_at(scored, {("BTCUSDT", 9): 5.3})
    await night(scored, 6 * DAY)
    row = await accuracy(scored)
    assert (row["hit_rate"], row["baseline_mae"]) == (0, pytest.approx(0.2))


async def test_what_comes_late_is_scored_late_and_corrections_are_followed_for_a_week(
    scored: Connection,
) -> None:
    await one(scored, Prediction("BTCUSDT", 10, "m", 5, 5.0, None, 10))
    await night(scored, 30 * DAY)
    assert await scored.fetchval("SELECT count(*) FROM prediction_accuracy") == 0
    await close_at(scored, {("BTCUSDT", 9): 4.0, ("BTCUSDT", 14): 5.5})
    await night(scored, 60 * DAY)
    assert (await accuracy(scored))["mae"] == 0.5
    await close_at(scored, {("BTCUSDT", 14): 7.0}, Source.ARCHIVE)
    await night(scored, 61 * DAY)
    assert (await accuracy(scored))["mae"] == 0.5


async def test_a_long_horizon_is_scored_when_it_is_reached(scored: Connection) -> None:
    await close_at(scored, {("BTCUSDT", 9): 5.0, ("BTCUSDT", 20 * DAY + 8): 5.5})
    await one(scored, Prediction("BTCUSDT", 10, "m", 20 * DAY, 5.0, None, 10))
    for now in (19 * DAY, 20 * DAY + 9.9):
        await night(scored, now)
        assert await scored.fetchval("SELECT count(*) FROM prediction_accuracy") == 0
    await close_at(scored, {("BTCUSDT", 20 * DAY + 9): 5.5})
    await night(scored, 20 * DAY + 10.5)
    assert (await accuracy(scored))["mae"] == 0.5


async def test_figures_outlive_the_predictions_and_a_day_cut_by_retention_keeps_its_own(
    scored: Connection,
) -> None:
    await scored.execute("UPDATE platform_state SET policies = true")
    await close_at(scored, {("BTCUSDT", 9): 5.0, ("BTCUSDT", 14): 5.5, ("BTCUSDT", 600): 5.0})
    early, late = (
        Prediction("BTCUSDT", 10, "m", 5, 6.0, None, 10),
        Prediction("BTCUSDT", 700, "m", 5, 5.0, None, 700),
    )
    await insert(scored, [early, late])
    await night(scored, 100)
    before = await accuracy(scored)
    assert before["scored"] == 1
    # Three months later retention cuts the day in two, and the other half's candle arrives.
    await scored.execute("DELETE FROM predictions WHERE time = $1", minute(10))
    await close_at(scored, {("BTCUSDT", 704): 5.5})
    await scored.execute(
        "UPDATE market_clock SET time = $1::timestamptz + interval '3 months' + interval '10 hours'", T0
    )
    await scored.execute("CALL nightly_accuracy()")
    assert await accuracy(scored) == before
    await scored.execute("DELETE FROM predictions")
    await scored.execute("CALL nightly_accuracy()")
    assert await accuracy(scored) == before


async def test_absurd_times_hold_nothing_up(scored: Connection) -> None:
    """One client's rows, at the ends of time, and the night must still go on for all."""
    plain = await scored.fetchval("SELECT server_kind() = 'plain'")
    for time in ("-infinity", "infinity", "4713-01-01 BC", "294276-12-31", "1999-12-31 23:59:59.999999Z"):
        try:
            await scored.execute(
                "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted)"
                f" VALUES ('BTCUSDT', '{time}', 'm', 2147483647, 1)"  # one of five constants
            )
        except asyncpg.PostgresError:
            assert not plain, "chunks have bounds, plain tables have none"
    await close_at(scored, {("BTCUSDT", 9): 5.0, ("BTCUSDT", 14): 5.5})
    await one(scored, Prediction("BTCUSDT", 10, "m", 5, 6.0, None, 10))
    await night(scored, 100)
    assert (await accuracy(scored))["scored"] == 1


async def test_the_first_night_of_a_database_that_heard_nothing(connection: Connection) -> None:
    await connection.execute("CALL nightly_accuracy()")
    assert await connection.fetchval("SELECT count(*) FROM prediction_accuracy") == 0


async def test_a_models_absurd_number_does_not_stop_the_scoring_of_others(connection: Connection) -> None:
    """A price may be any finite number; the square of its error is none above 1e154."""
    await connection.execute("SELECT advance_market_clock($1)", minute(99))
    rows = [
        candles.Row(Candle("BTCUSDT", minute(n), 2.0, 2.0, 2.0, 2.0, 1.0, 2.0, 1, 0.5, 1.0), minute(n + 1))
        for n in range(90)
    ]
    await candles.write(connection, rows, source=Source.REST)
    await connection.executemany(
        "INSERT INTO predictions (symbol, time, model, horizon_minutes, predicted, created_at)"
        " VALUES ('BTCUSDT', $1, $2, 15, $3, $1)",
        [
            (minute(n), model, predicted)
            for n in (10, 20, 30)
            for model, predicted in (("absurd", 10.0 ** (77 * (n // 10))), ("good", 3.0), ("most", 1.7e308))
        ],
    )
    await connection.execute("CALL nightly_accuracy()")
    scored = await connection.fetch("SELECT model, mae, rmse FROM prediction_accuracy ORDER BY model")
    assert [record["model"] for record in scored] == ["absurd", "good", "most"]
    assert (scored[1]["mae"], scored[1]["rmse"]) == (1.0, 1.0)
    assert all(1e50 < record["mae"] < math.inf for record in (scored[0], scored[2]))

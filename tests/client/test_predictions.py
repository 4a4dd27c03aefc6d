"""What models write: checked by row, once, by a role that may do nothing else."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from tests.client.conftest import at, minute, store

from marketdata.client import Accuracy, AsyncClient, Prediction, Written
from marketdata.client.predictions import to_columns
from marketdata.database import Connection
from marketdata.errors import RequestError

GOOD: dict[str, Any] = {
    "symbol": "BTCUSDT", "time": at(1), "model": "m-1", "horizon_minutes": 15, "predicted": 2.5,
}  # fmt: skip


async def test_a_prediction_is_written_once_and_the_first_stands(
    market: Connection, client: AsyncClient
) -> None:
    assert await client.predict("BTCUSDT", at(1), "m-1", 15, 2.5, 0.6, at(1)) is True
    assert await client.predict("BTCUSDT", at(1), "m-1", 15, 9.9) is False
    (row,) = await market.fetch("SELECT * FROM predictions")
    assert (row["symbol"], row["time"], row["model"], row["horizon_minutes"]) == (
        "BTCUSDT",
        minute(1),
        "m-1",
        15,
    )
    assert (row["predicted"], row["confidence"], row["features_time"]) == (2.5, 0.6, minute(1))
    assert row["created_at"] == minute(0), "the server's own clock"


async def test_many_are_one_statement_and_the_new_ones_are_counted(
    market: Connection, client: AsyncClient
) -> None:
    rows = [Prediction("BTCUSDT", at(n), "m-1", 15, 2.5) for n in range(1000)]
    assert await client.write_predictions(rows[:10]) == Written(new=10, known=0)
    assert await client.write_predictions(iter(rows)) == Written(new=990, known=10)
    assert await client.write_predictions([GOOD, {**GOOD, "model": "m-2"}, {**GOOD, "model": "m-2"}]) == (
        1,
        2,
    )
    assert await client.write_predictions([]) == Written(0, 0)
    assert await market.fetchval("SELECT count(*) FROM predictions") == 1001


async def test_numbers_of_other_libraries_are_numbers(market: Connection, client: AsyncClient) -> None:
    await client.write_predictions(
        [
            {
                **GOOD,
                "horizon_minutes": np.int64(15),
                "predicted": np.float32(2.5),
                "confidence": np.float64(1),
            },
            {
                **GOOD,
                "horizon_minutes": 30.0,
                "predicted": Decimal("2.5"),
                "time": np.datetime64("2026-11-21T12:01"),
            },
        ]
    )
    records = await market.fetch("SELECT time, horizon_minutes, predicted FROM predictions ORDER BY 2")
    assert [tuple(r) for r in records] == [(minute(1), 15, 2.5), (minute(1), 30, 2.5)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": ""}, "symbol must be a name"),
        ({"symbol": None}, "symbol must be a name"),
        ({"model": 7}, "model must be a name, got 7"),
        ({"model": "a\0"}, "model must be a name"),
        ({"time": "noon"}, "time must be an instant"),
        ({"time": at(1).replace(tzinfo=None)}, "time must be an instant with its time zone"),
        ({"horizon_minutes": 0}, "horizon_minutes must be a whole number above 0, got 0"),
        ({"horizon_minutes": 1.5}, "horizon_minutes must be a whole number"),
        ({"horizon_minutes": True}, "horizon_minutes must be a whole number"),
        ({"horizon_minutes": 2**31}, "horizon_minutes must be a whole number"),
        ({"predicted": float("nan")}, "predicted must be a price above 0, got nan"),
        ({"predicted": float("inf")}, "predicted must be a price above 0"),
        ({"predicted": -1}, "predicted must be a price above 0"),
        ({"predicted": "2.5"}, "predicted must be a price above 0, got '2.5'"),
        ({"predicted": None}, "predicted must be a price above 0, got None"),
        ({"confidence": 1.01}, "confidence must be from 0 to 1"),
        ({"confidence": float("nan")}, "confidence must be from 0 to 1"),
        ({"features_time": at(2)}, "features_time .* is after the decision"),
        ({"price": 1}, "unexpected keyword argument 'price'; its fields are symbol, time"),
    ],
)
def test_what_is_no_prediction_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=f"^prediction 1.*{said}"):
        to_columns([GOOD, {**GOOD, **change}])


async def test_one_that_is_none_costs_them_all(market: Connection, client: AsyncClient) -> None:
    with pytest.raises(RequestError, match=r"prediction 1 \(BTCUSDT at .*, m-1\): predicted"):
        await client.write_predictions([GOOD, {**GOOD, "predicted": 0}])
    assert await market.fetchval("SELECT count(*) FROM predictions") == 0


async def test_what_is_no_row_at_all_is_named(client: AsyncClient) -> None:
    with pytest.raises(RequestError, match="prediction 0 must be a Prediction or a mapping"):
        await client.write_predictions([("BTCUSDT", at(1))])  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"prediction 0: missing 1 required .*'predicted'"):
        await client.write_predictions([{k: v for k, v in GOOD.items() if k != "predicted"}])


async def test_accuracy_is_what_the_nightly_job_found(market: Connection, client: AsyncClient) -> None:
    for model, predicted in (("m-1", 100.0), ("m-2", 0.5)):
        await client.predict("BTCUSDT", at(0), model, 15, predicted, 0.75)
    await store(market, "BTCUSDT", range(-1, 40))
    await market.execute("CALL nightly_accuracy()")
    day = date(2026, 11, 21)
    # The price goes from 0.5 to 15.5: the first was right about the direction, the second persistence itself.
    assert await client.accuracy() == [
        Accuracy("m-1", "BTCUSDT", 15, day, 1, 1.0, 84.5, 84.5, 0.0625, 15.0, 15.0),
        Accuracy("m-2", "BTCUSDT", 15, day, 1, 0.0, 15.0, 15.0, 0.5625, 15.0, 15.0),
    ]
    assert [row.model for row in await client.accuracy("m-2")] == ["m-2"]
    assert await client.accuracy(symbol="ETHUSDT") == []
    assert await client.accuracy(horizon_minutes=30) == []
    assert len(await client.accuracy(start=day, end=date(2026, 11, 22))) == 2
    assert await client.accuracy(end=day) == []

"""Ranges of rows as data frames: the same numbers as the database has, typed, null where not defined."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from tests.client.conftest import at, insert, minute, store, value

from marketdata.client import AsyncClient, Labels, Table
from marketdata.database import Connection
from marketdata.errors import MissingPackageError, RequestError
from marketdata.features.registry import NAMES, REGISTRY
from marketdata.minutes import to_datetime

KEYS = ["symbol", "time"]
ABOUT = ["window_coverage", "feature_version", "known_at"]


@pytest.fixture
async def filled(market: Connection, client: AsyncClient) -> AsyncClient:
    await insert(market, "BTCUSDT", range(5))
    await insert(market, "ETHUSDT", range(2, 4))
    return client


async def test_a_range_is_what_the_matrix_holds(filled: AsyncClient, market: Connection) -> None:
    table = await filled.features("BTCUSDT", at(1), at(4))
    assert list(table.columns) == [*KEYS, *NAMES, *ABOUT]
    assert table.names == NAMES
    records = await market.fetch(
        "SELECT * FROM feature_matrix WHERE symbol = 'BTCUSDT' AND time >= $1 AND time < $2 ORDER BY time",
        minute(1), minute(4),
    )  # fmt: skip
    for name in NAMES:
        stored = [np.nan if r[name] is None else r[name] for r in records]
        np.testing.assert_array_equal(np.asarray(table.columns[name]), stored, err_msg=name)
    assert table.to_numpy().shape == (3, len(NAMES))
    assert table.time.tolist() == [at(n).replace(tzinfo=None) for n in (1, 2, 3)]
    assert table.symbol.tolist() == ["BTCUSDT"] * 3
    assert np.asarray(table.columns["feature_version"]).tolist() == [r["feature_version"] for r in records]
    assert np.asarray(table.columns["window_coverage"]).tolist() == [0.5] * 3


async def test_a_table_says_in_a_line_what_it_holds(filled: AsyncClient) -> None:
    table = await filled.features(["BTCUSDT", "ETHUSDT"], at(1), at(4), names=[NAMES[0]])
    first, last = (f"{at(n):%Y-%m-%dT%H:%MZ}" for n in (1, 3))
    assert repr(table) == f"Table(5 rows, 1 columns of numbers: BTCUSDT, ETHUSDT, {first} to {last})"
    nothing = await filled.features("BTCUSDT", at(7), at(8), names=[NAMES[0]])
    assert repr(nothing) == "Table(0 rows, 1 columns of numbers)"


async def test_only_the_columns_asked_for_come_in_the_order_asked_for(filled: AsyncClient) -> None:
    names = [NAMES[3], NAMES[0]]
    table = await filled.features("BTCUSDT", at(0), at(9), names=names)
    assert list(table.columns) == [*KEYS, *names, *ABOUT]
    assert table.to_numpy()[2].tolist() == [value(2, 3), value(2, 0)]


async def test_groups_are_the_databases(filled: AsyncClient) -> None:
    known = await filled.feature_names()
    assert [(f.name, f.group) for f in known] == [(f.name, f.group) for f in REGISTRY]
    table = await filled.features("BTCUSDT", at(0), at(9), names="rsi_14", groups=["returns"])
    assert table.names == ("rsi_14", *(f.name for f in REGISTRY if f.group == "returns"))


async def test_several_symbols_are_one_after_another_as_asked_for(filled: AsyncClient) -> None:
    table = await filled.features(["ETHUSDT", "BTCUSDT"], at(0), at(9), names=[NAMES[0]])
    assert table.symbol.tolist() == ["ETHUSDT"] * 2 + ["BTCUSDT"] * 5
    assert table.to_numpy()[:, 0].tolist() == [2.0, 3.0, 0.0, 1.0, 2.0, 3.0, 4.0]


async def test_pandas(filled: AsyncClient) -> None:
    frame = (await filled.features(["BTCUSDT", "ETHUSDT"], at(0), at(9))).to_pandas()
    assert frame["time"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert frame["known_at"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert (frame[list(NAMES)].dtypes == np.float64).all()
    assert frame["feature_version"].dtype == np.int32
    assert frame[NAMES[1]].isna().all()
    assert frame[frame["symbol"] == "ETHUSDT"]["time"].tolist() == [at(2), at(3)]
    assert frame[NAMES[0]].notna().all()


async def test_arrow(filled: AsyncClient) -> None:
    table = (await filled.features(["BTCUSDT", "ETHUSDT"], at(0), at(9))).to_arrow()
    assert table.schema.field("symbol").type == pa.string()
    assert table.schema.field("time").type == pa.timestamp("us", "UTC")
    assert {table.schema.field(name).type for name in NAMES} == {pa.float64()}
    assert table[NAMES[1]].null_count == len(table) == 7
    assert table[NAMES[0]].null_count == 0
    assert table["time"].to_pylist()[:2] == [at(0), at(1)]


async def test_polars(filled: AsyncClient) -> None:
    frame = (await filled.features(["BTCUSDT", "ETHUSDT"], at(0), at(9))).to_polars()
    assert frame.schema["time"] == pl.Datetime("us", "UTC")
    assert frame.schema["symbol"] == pl.String
    assert {frame.schema[name] for name in NAMES} == {pl.Float64()}
    assert frame[NAMES[1]].null_count() == 7
    assert frame.filter(pl.col("symbol") == "ETHUSDT")["time"].to_list() == [at(2), at(3)]


async def test_a_range_without_rows_has_its_columns(filled: AsyncClient) -> None:
    table = await filled.features(["BTCUSDT", "ETHUSDT"], at(100), at(200))
    assert len(table) == 0
    assert table.to_numpy().shape == (0, len(NAMES))
    assert table.to_arrow().schema.field(NAMES[0]).type == pa.float64()
    assert table.to_pandas()["time"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert table.to_polars().schema["time"] == pl.Datetime("us", "UTC")
    assert len((await filled.candles("BTCUSDT", at(100), at(200))).to_pandas()) == 0


async def test_candles(market: Connection, client: AsyncClient) -> None:
    await store(market, "BTCUSDT", [0, 1, 3])
    await store(market, "ETHUSDT", [0])
    await market.execute("UPDATE candles_1m SET source = 'stream' WHERE time = $1", minute(1))
    table = await client.candles(["BTCUSDT", "ETHUSDT"], at(0), at(9))
    records = await market.fetch("SELECT * FROM candles_1m ORDER BY symbol, time")
    frame = table.to_pandas()
    assert list(frame.columns) == [*list(records[0].keys())[:11], "source", "known_at"]
    for name in table.names:
        assert frame[name].tolist() == [r[name] for r in records], name
    assert frame["trades"].dtype == np.int64
    assert frame["source"].tolist() == [r["source"] for r in records] == ["rest", "stream", "rest", "rest"]
    assert frame["known_at"].tolist() == [to_datetime(r["known_at"]) for r in records]
    assert table.to_arrow().num_rows == len(table.to_polars()) == 4
    assert table.to_numpy().shape == (4, 9)


async def test_a_client_of_another_version_reads_what_the_database_has(
    market: Connection, client: AsyncClient
) -> None:
    """A newer database has a column this package never heard of; its older rows lack it."""
    await insert(market, "BTCUSDT", [0])
    await market.execute(
        "INSERT INTO feature_sets (version, names) VALUES (1, $1), (99, $2) ON CONFLICT DO NOTHING",
        list(NAMES[:29]), [*NAMES, "of tomorrow"],
    )  # fmt: skip
    await market.execute("UPDATE feature_values SET feature_version = 99, values = values || 7.5::float8")
    await market.execute(
        "INSERT INTO feature_values SELECT symbol, time + interval '1 minute', 1, values[:29], 1, known_at"
        " FROM feature_values"
    )
    view = await market.fetchval("SELECT pg_get_viewdef('feature_matrix')")
    body = view.replace(
        "FROM feature_values", f', values[{len(NAMES) + 1}] AS "of tomorrow" FROM feature_values'
    )
    await market.execute(f"CREATE OR REPLACE VIEW feature_matrix AS {body}")
    await market.execute("COMMENT ON COLUMN feature_matrix.\"of tomorrow\" IS 'x; group: prophecy; unit: y'")

    newest = await client.latest("BTCUSDT")
    assert newest is not None
    assert (newest.feature_version, list(newest.features)) == (1, list(NAMES[:29]))
    row = await client.latest("BTCUSDT", at(0))
    assert row is not None
    assert row.features["of tomorrow"] == 7.5
    table = await client.features("BTCUSDT", at(0), at(9), names=[NAMES[-1]], groups=["prophecy"])
    assert table.names == (NAMES[-1], "of tomorrow")
    np.testing.assert_array_equal(table.to_numpy(), [[value(0, len(NAMES) - 1), 7.5], [np.nan, np.nan]])


async def test_what_cannot_be_meant_is_refused_by_name(client: AsyncClient) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"symbols": "BTCUSD"}, "no symbol 'BTCUSD': did you mean BTCUSDT?"),
        ({"symbols": []}, "no symbol was asked for"),
        ({"symbols": [7]}, "symbols must be names, got 7"),
        ({"names": ["rsi_41"]}, "no feature 'rsi_41': did you mean rsi_14?"),
        ({"names": []}, "no feature was asked for"),
        ({"groups": ["astrology"]}, "no group 'astrology': it has returns, "),
        ({"start": datetime(2026, 11, 21, 12)}, "start must be an instant with its time zone"),
        ({"start": "tomorrow"}, "start must be an instant with its time zone"),
        ({"start": pd.NaT}, "start must be an instant with its time zone"),
        ({"start": 1_795_262_400}, "start must be an instant with its time zone"),
        ({"end": "2026-11-20"}, "end 2026-11-20 00:00:00+00:00 lies before start"),
    ]
    for arguments, said in refused:
        question: dict[str, Any] = {"symbols": "BTCUSDT", "start": at(0), "end": at(9), **arguments}
        with pytest.raises(RequestError, match=re.escape(said)):
            await client.features(**question)


async def test_an_instant_may_be_written_in_many_ways(filled: AsyncClient) -> None:
    ways: list[Any] = [
        at(1), at(1).astimezone(), pd.Timestamp(at(1)), "2026-11-21T12:01:00Z", "2026-11-21 13:01+01:00",
        np.datetime64("2026-11-21T12:01"),
    ]  # fmt: skip
    for instant in ways:
        assert (await filled.features("BTCUSDT", instant, at(9))).time[0] == np.datetime64("2026-11-21T12:01")
        row = await filled.latest("BTCUSDT", instant)
        assert row is not None
        assert row.time == at(1)


async def test_a_day_is_its_midnight(filled: AsyncClient) -> None:
    day = datetime(2026, 11, 21, tzinfo=UTC).date()
    assert len(await filled.features("BTCUSDT", day, "2026-11-22")) == 5


async def test_a_name_that_is_sql_stays_a_name(filled: AsyncClient, market: Connection) -> None:
    nasty = "B'; DROP TABLE candles_1m; --\\"
    await market.execute(
        "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'X', $2)", nasty, minute(0)
    )
    await insert(market, nasty, [1])
    assert (await filled.features(nasty, at(0), at(9))).symbol.tolist() == [nasty]
    assert len(await filled.candles(nasty, at(0), at(9))) == 0


def test_a_package_that_is_not_there_is_named() -> None:
    code = (
        "import sys; sys.modules.update(pandas=None, polars=None, pyarrow=None)\n"
        "import numpy as np\n"
        "from marketdata.client import Table\n"
        "table = Table({'time': np.empty(0, 'datetime64[us]')}, ())\n"
        "for name in ('to_pandas', 'to_polars', 'to_arrow'):\n"
        "    try: getattr(table, name)()\n"
        "    except ImportError as error: print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        f"{MissingPackageError.__name__} {method}() needs {name}: pip install {name}"
        for method, name in (("to_pandas", "pandas"), ("to_polars", "polars"), ("to_arrow", "pyarrow"))
    ]


def test_importing_the_client_imports_no_data_frames() -> None:
    code = (
        "import sys, marketdata.client\n"
        "print({'pandas', 'polars', 'pyarrow', 'talib', 'sklearn'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"


def test_labels_and_tables_can_be_made_by_hand() -> None:
    times = np.array(["2026-11-21T12:00"], "datetime64[us]")
    table = Table({"symbol": Labels(("A", "B"), np.array([1], np.int32)), "time": times}, ())
    assert table.symbol.tolist() == ["B"]
    assert table.to_numpy().shape == (1, 0)

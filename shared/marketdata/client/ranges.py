"""Ranges of feature rows and candles, copied out of the database as they lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

import numpy as np

from marketdata.client.queries import QUERIES
from marketdata.client.table import Column, Labels, Table, concatenate, to_labels
from marketdata.copyrows import Array, decode, row_type, to_datetimes
from marketdata.database import Connection, copy_out, one_moment

_FLOWS: Final = ("taker_buy_volume", "taker_buy_quote_volume")
_BEFORE_TRADES: Final = ("open", "high", "low", "close", "volume", "quote_volume")
CANDLE_NUMBERS: Final = (*_BEFORE_TRADES, "trades", *_FLOWS)

Columns: TypeAlias = dict[str, Column]


async def read_features(
    connection: Connection, symbols: Sequence[str], start: datetime, end: datetime, names: Sequence[str]
) -> Table:
    """Return feature rows of ``[start, end)``, all as of one moment. Raises asyncpg's errors."""
    layout = row_type(
        ("time", ">i8", 1),
        ("version", ">i4", 1),
        ("coverage", ">f8", 1),
        ("known_at", ">i8", 1),
        ("values", ">f8", len(names)),
    )

    def columns(copied: dict[str, Array]) -> Columns:
        # Column by column, so that each is one piece of memory.
        values = np.ascontiguousarray(copied["values"].T, dtype=np.float64)
        return {
            "time": to_datetimes(copied["time"][:, 0]),
            **dict(zip(names, values, strict=True)),
            "window_coverage": copied["coverage"][:, 0].astype(np.float64),
            "feature_version": copied["version"][:, 0].astype(np.int32),
            "known_at": to_datetimes(copied["known_at"][:, 0]),
        }

    async with one_moment(connection):
        questions = await connection.fetch(QUERIES["copy_features"], symbols, start, end, names)
        parts = [columns(decode(await copy_out(connection, q["question"]), layout)) for q in questions]
    return _joined(symbols, parts, tuple(names))


async def read_candles(
    connection: Connection, symbols: Sequence[str], start: datetime, end: datetime
) -> Table:
    """Return candles of ``[start, end)``, all as of one moment. Raises asyncpg's errors."""
    layout = row_type(
        ("time", ">i8", 1),
        ("prices", ">f8", len(_BEFORE_TRADES)),
        ("trades", ">i8", 1),
        ("flows", ">f8", len(_FLOWS)),
        ("source", "S16", 1),
        ("known_at", ">i8", 1),
    )

    def columns(copied: dict[str, Array]) -> Columns:
        prices = np.ascontiguousarray(copied["prices"].T, dtype=np.float64)
        flows = np.ascontiguousarray(copied["flows"].T, dtype=np.float64)
        return {
            "time": to_datetimes(copied["time"][:, 0]),
            **dict(zip(_BEFORE_TRADES, prices, strict=True)),
            "trades": copied["trades"][:, 0].astype(np.int64),
            **dict(zip(_FLOWS, flows, strict=True)),
            "source": to_labels(copied["source"][:, 0]),
            "known_at": to_datetimes(copied["known_at"][:, 0]),
        }

    async with one_moment(connection):
        questions = await connection.fetch(QUERIES["copy_candles"], symbols, start, end)
        parts = [columns(decode(await copy_out(connection, q["question"]), layout)) for q in questions]
    return _joined(symbols, parts, CANDLE_NUMBERS)


def _joined(symbols: Sequence[str], parts: Sequence[Columns], names: tuple[str, ...]) -> Table:
    lengths = [len(part["time"]) for part in parts]
    codes = np.repeat(np.arange(len(symbols), dtype=np.int32), lengths)
    joined = {name: concatenate([part[name] for part in parts]) for name in parts[0]}
    return Table({"symbol": Labels(tuple(symbols), codes), **joined}, names)

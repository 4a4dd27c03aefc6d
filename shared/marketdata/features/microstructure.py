"""The best bid and ask over the last minute."""

from __future__ import annotations

from typing import Final

from marketdata.features.columns import Columns, Floats
from marketdata.features.feature import Feature


def _spread(columns: Columns) -> Floats:
    return columns.spread_bps


def _imbalance(columns: Columns) -> Floats:
    return columns.imbalance


FEATURES: Final = (
    Feature(
        name="spread_bps",
        group="microstructure",
        since_version=1,
        inputs=("spread_bps",),
        window=1,
        unit="basis points",
        low=0.0,
        high=None,
        formula="mean of 10,000 (ask - bid) / mid over once-a-second samples of the minute",
        source="book_ticker_1m",
        compute=_spread,
    ),
    Feature(
        name="book_imbalance",
        group="microstructure",
        since_version=1,
        inputs=("imbalance",),
        window=1,
        unit="fraction",
        low=-1.0,
        high=1.0,
        formula="mean of (bid size - ask size) / (bid size + ask size) over once-a-second samples",
        source="book_ticker_1m; Cartea, Jaimungal and Penalva 2015",
        compute=_imbalance,
    ),
)

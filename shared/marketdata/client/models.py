"""What the client gives: one feature row, a feature's name, an account of a write, a model's accuracy."""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple


class FeatureRow(NamedTuple):
    """One row of ``feature_cache``.

    ``time`` (UTC) is the instant from which it may be used: the close of the last candle it saw. A value of
    ``features`` is None where it is not defined. ``window_coverage`` is the share, 0 to 1, of the window's
    minutes that were real candles; ``known_at`` the exchange time at which the row was computed.
    """

    symbol: str
    time: datetime
    features: dict[str, float | None]
    window_coverage: float
    known_at: datetime
    feature_version: int


class FeatureName(NamedTuple):
    """One column of ``feature_matrix``: its group, and its formula, unit and window in words."""

    name: str
    group: str
    description: str


class Written(NamedTuple):
    """How many predictions were new, and how many keys were there already and stay as they were."""

    new: int
    known: int


class Accuracy(NamedTuple):
    """One row of ``prediction_accuracy``: a model's day. Errors are in the quote asset.

    ``hit_rate`` is the share of predictions whose direction was right, ``brier`` the mean squared distance
    of confidence from what happened; ``baseline_mae`` and ``baseline_rmse`` are those of persistence. Each
    is None where nothing was there to compute it from.
    """

    model: str
    symbol: str
    horizon_minutes: int
    day: date
    scored: int
    hit_rate: float | None
    mae: float
    rmse: float
    brier: float | None
    baseline_mae: float | None
    baseline_rmse: float | None

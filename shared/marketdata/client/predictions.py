"""What a model says of a price to come, checked before it is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from marketdata.client.instants import Instant, to_instant
from marketdata.errors import RequestError


class Prediction(NamedTuple):
    """One row of ``predictions``: the price expected at ``time + horizon_minutes``.

    ``time`` is the instant of the decision and ``features_time`` the time of the row it was made from;
    ``confidence`` is the probability, 0 to 1, that the predicted direction is right.
    """

    symbol: str
    time: Instant
    model: str
    horizon_minutes: int
    predicted: float
    confidence: float | None = None
    features_time: Instant | None = None


def to_columns(rows: Iterable[Prediction | Mapping[str, Any]]) -> list[list[Any]]:
    """Return checked rows as one list a column, in the order of ``Prediction``.

    Raises ``RequestError`` that names the row by its place and key.
    """
    columns: list[list[Any]] = [[] for _ in Prediction._fields]
    for n, row in enumerate(rows):
        for column, value in zip(columns, _checked(n, row), strict=True):
            column.append(value)
    return columns


def _checked(n: int, row: Prediction | Mapping[str, Any]) -> Iterator[Any]:
    where = f"prediction {n}"
    if isinstance(row, Mapping):
        try:
            row = Prediction(**row)
        except TypeError as error:
            said = str(error).replace("Prediction.__new__() ", "")
            raise RequestError(f"{where}: {said}; its fields are {', '.join(Prediction._fields)}") from None
    elif not isinstance(row, Prediction):
        raise RequestError(f"{where} must be a Prediction or a mapping of its fields, got {row!r}")
    where = f"{where} ({row.symbol} at {row.time}, {row.model})"
    for name in ("symbol", "model"):
        value = getattr(row, name)
        if not isinstance(value, str) or not value or "\0" in value:
            raise RequestError(f"{where}: {name} must be a name, got {value!r}")
    time = to_instant(row.time, f"{where}: time")
    horizon, predicted = _number(row.horizon_minutes), _number(row.predicted)
    if not (0 < horizon < 2**31 and horizon.is_integer()):
        raise RequestError(
            f"{where}: horizon_minutes must be a whole number above 0, got {row.horizon_minutes!r}"
        )
    if not 0 < predicted < math.inf:
        raise RequestError(f"{where}: predicted must be a price above 0, got {row.predicted!r}")
    confidence = None if row.confidence is None else _number(row.confidence)
    if confidence is not None and not 0 <= confidence <= 1:
        raise RequestError(f"{where}: confidence must be from 0 to 1, or None, got {row.confidence!r}")
    seen = None if row.features_time is None else to_instant(row.features_time, f"{where}: features_time")
    if seen is not None and seen > time:
        raise RequestError(f"{where}: features_time {seen} is after the decision")
    yield from (row.symbol, time, row.model, int(horizon), predicted, confidence, seen)


def _number(value: Any) -> float:
    """Return a number as a float, NaN for what is none: Python's, NumPy's or a Decimal."""
    if isinstance(value, bool | str | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan

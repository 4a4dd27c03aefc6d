"""Stored minutes to the rows of one part of the range: the same here and on a cluster's workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.database import Connection
from marketdata.export import known, labels, source
from marketdata.export.labels import Prices
from marketdata.export.request import Request
from marketdata.export.source import Cached, Minutes
from marketdata.features.columns import REFERENCE, Floats
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import compute
from marketdata.features.registry import MAX_WINDOW, NAMES
from marketdata.models import MINUTE_MS

WARM_UP: Final = max(MAX_WINDOW, CROSS_WINDOW)
"""Minutes before a part's first row, its own candle's included, that its rows look at."""
_ROWS: Final = 131_072
_LEAST: Final = 360
_MOST: Final = 10_080


class Part(NamedTuple):
    """Rows with ``time`` in ``[start, end)`` (Unix ms)."""

    start: int
    end: int


class Loaded(NamedTuple):
    """What a part needs: each symbol's minutes and the reference's, and the cache's rows for as-known."""

    minutes: Mapping[str, Minutes]
    cached: Mapping[str, Cached]


class Rows(NamedTuple):
    """Rows by time, then in the order of the symbols asked for.

    ``symbol`` is the place in that order; ``features`` is (features, rows); NaN stands for null.
    """

    symbol: NDArray[np.int16]
    time: NDArray[np.int64]
    features: Floats
    coverage: Floats
    labels: Floats


def parts(request: Request, most: int | None = None) -> Iterator[Part]:
    """Yield the parts of the range in order: a week, or less where many symbols would make it too much.

    ``most`` is the minutes of a part, for tests.
    """
    minutes = most or min(_MOST, max(_LEAST, _ROWS // len(request.symbols)))
    for start in range(request.start, request.end, minutes * MINUTE_MS):
        yield Part(start, min(start + minutes * MINUTE_MS, request.end))


async def load(connection: Connection, snapshot: str, request: Request, part: Part) -> Loaded:
    """Return what ``make`` needs, all of it as it was at ``snapshot``; the reference is read once."""
    start = part.start - WARM_UP * MINUTE_MS
    end = part.end - MINUTE_MS
    ahead = end + request.look_ahead * MINUTE_MS
    minutes: dict[str, Minutes] = {}
    cached: dict[str, Cached] = {}
    async with source.reading(connection, snapshot):
        for symbol in request.symbols:
            minutes[symbol] = await source.load(connection, symbol, start, ahead)
            if request.as_known_ms is not None:
                cached[symbol] = await source.load_cached(
                    connection, symbol, part.start, part.end, len(NAMES)
                )
        if REFERENCE not in minutes:
            minutes[REFERENCE] = await source.load(connection, REFERENCE, start, end)
    return Loaded(minutes, cached)


def make(request: Request, part: Part, loaded: Loaded) -> Rows:
    """Return the rows of a part."""
    pieces = [
        _of_symbol(place, symbol, request, part, loaded) for place, symbol in enumerate(request.symbols)
    ]
    if len(pieces) == 1:
        return pieces[0]
    symbol = np.concatenate([piece.symbol for piece in pieces])
    time = np.concatenate([piece.time for piece in pieces])
    order = np.lexsort((symbol, time))
    return Rows(
        symbol[order],
        time[order],
        np.concatenate([piece.features for piece in pieces], axis=1)[:, order],
        np.concatenate([piece.coverage for piece in pieces])[order],
        np.concatenate([piece.labels for piece in pieces], axis=1)[:, order],
    )


def _of_symbol(place: int, symbol: str, request: Request, part: Part, loaded: Loaded) -> Rows:
    own, reference = loaded.minutes[symbol], loaded.minutes[REFERENCE]
    end = part.end - MINUTE_MS
    columns = own.columns(end)
    columns = columns.beside(columns if symbol == REFERENCE else reference.columns(end))
    count = (part.end - part.start) // MINUTE_MS
    places = [NAMES.index(name) for name in request.features]
    result = compute(columns, count, places)
    kept = result.emit
    if request.as_known_ms is not None:
        allowed = request.as_known_ms
        kept = kept & known.decided_by_cache(
            result.time,
            allowed,
            result.values,
            np.array(places, dtype=np.intp),
            loaded.cached[symbol],
            known.in_time(result.time, allowed, known.needs(request.features), own, reference),
        )
    features, learnt = result.values.T, _labels(request, own, part)
    found = np.flatnonzero(kept)
    whole = len(found) == count
    return Rows(
        np.full(len(found), place, dtype=np.int16),
        result.time[found],
        features if whole else features[:, found],
        result.window_coverage[found],
        learnt if whole else learnt[:, found],
    )


def _labels(request: Request, own: Minutes, part: Part) -> Floats:
    """The label columns of every minute of the part, from the candles that end at its rows' times on."""
    count = (part.end - part.start) // MINUTE_MS
    start = part.start - MINUTE_MS
    prices = Prices(*(own.grid(name, start, own.end) for name in Prices._fields))
    columns = [c.values for label in request.labels for c in labels.columns(label, prices, count)]
    return np.array(columns).reshape(len(columns), count)

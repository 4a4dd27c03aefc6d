"""Which rows a live model had in time, with these very numbers.

A row is kept where every minute that its features look at is a real candle that was known by the row's time
plus the time allowed. A candle revised later has the later ``known_at``; a minute that is missing or in an
outage has none. Where the feature cache still has the row, the cache decides: it says when the row was known
and what it held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketdata.export.source import Cached, Minutes
from marketdata.features.columns import BOOK, Floats
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.fold import State, fold
from marketdata.features.registry import NAMES, REGISTRY
from marketdata.models import MINUTE_MS

TOLERANCE: Final = 1e-9
"""How far live and batch may differ."""


class Needs(NamedTuple):
    """Minutes that the chosen features look at: of the symbol's candles, its books and the reference."""

    own: int
    books: int
    reference: int


def needs(features: Sequence[str]) -> Needs:
    """Return what these features look at; 0 where they look at none."""
    chosen = [REGISTRY[NAMES.index(name)] for name in features]
    return Needs(
        max(feature.window for feature in chosen),
        max((f.window for f in chosen if set(f.inputs) & set(BOOK)), default=0),
        # As far as any cross feature may look, so that a row that was computed again for another one is out.
        max(
            (max(f.window, CROSS_WINDOW) for f in chosen if "reference_close" in f.inputs),
            default=0,
        ),
    )


def in_time(
    times: NDArray[np.int64], allowed_ms: int, needs: Needs, own: Minutes, reference: Minutes
) -> NDArray[np.bool_]:
    """Whether each row of consecutive ``times`` had all it needs by its time plus ``allowed_ms``."""
    kept = _by(times, allowed_ms, needs.own, _arrivals(own, times, needs.own))
    if needs.reference:
        kept &= _by(times, allowed_ms, needs.reference, _arrivals(reference, times, needs.reference))
    if needs.books:
        # A quote cannot be had later: where there is none, the live model had none.
        start = int(times[0]) - needs.books * MINUTE_MS
        seen = np.nan_to_num(own.book_grid("known_at", start, int(times[-1])), nan=-np.inf)
        kept &= _by(times, allowed_ms, needs.books, seen)
    return kept


def decided_by_cache(
    times: NDArray[np.int64],
    allowed_ms: int,
    values: Floats,
    places: NDArray[np.intp],
    cached: Cached,
    kept: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return ``kept`` but for the rows that the cache has: those are kept where it had them in time.

    ``values`` is (rows, chosen features), which have ``places`` in a cached row. A cached row that holds
    other numbers than the recomputed one is not kept: whoever read it had others. One of a feature set that
    lacks a chosen feature says nothing in favour of the row, only against it. A row that the cache should
    have and has not was not computed yet.
    """
    by_candles = kept
    kept = kept & (times < cached.since)
    rows = (cached.time - times[0]) // MINUTE_MS
    ours, theirs = values[rows], cached.values[:, places]
    has = places < cached.width[:, None]
    with np.errstate(invalid="ignore"):
        near = np.abs(ours - theirs) <= TOLERANCE * np.maximum(1.0, np.abs(theirs))
    same = np.all(near | (np.isnan(ours) & np.isnan(theirs)) | ~has, axis=1)
    vouched = same & (cached.known_at <= cached.time + allowed_ms)
    kept[rows] = vouched & (by_candles[rows] | np.all(has, axis=1))
    return kept


def _arrivals(minutes: Minutes, times: NDArray[np.int64], window: int) -> Floats:
    """When each candle of the rows' windows was known (ms); infinity for a minute that has none."""
    start = int(times[0]) - window * MINUTE_MS
    return np.nan_to_num(minutes.grid("known_at", start, int(times[-1])), nan=np.inf)


def _by(times: NDArray[np.int64], allowed_ms: int, window: int, arrivals: Floats) -> NDArray[np.bool_]:
    """Whether the latest arrival of each row's window was in time."""
    (latest,) = fold((arrivals,), window, _later)
    return np.asarray(latest <= times + allowed_ms)


def _later(newer: State, older: State, n: int, m: int, out: State, scratch: State) -> None:
    np.maximum(newer[0], older[0], out=out[0])

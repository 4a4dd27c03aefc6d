"""What a feature sees: the check that every feature has to pass, and that none with a shifted window does.

It looks at many rows at once, each as if a symbol of its own, whose newest known minutes stand at one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tests.features.samples import START, constant, seeded

from marketdata.features import MAX_WINDOW, Columns
from marketdata.features.columns import BOOK, FLOWS, PRICES, Floats
from marketdata.features.feature import Feature
from marketdata.models import MINUTE_MS

FUTURE: Final = "sees what comes after its instant"
PAST: Final = "sees what lies before its window"
ALONE: Final = "is another number from its window alone"
LONG: Final = "does not need the oldest minute of its window"
LATE: Final = "does not see its newest minute"

EARLIER: Final = 20
"""Minutes before the longest window that a sample holds."""
LATER: Final = 30
"""Minutes after each row's instant that a sample holds."""

_DATA: Final = tuple(column.name for column in fields(Columns) if column.init and column.name != "time")
_UNKNOWN_AT_TIMES: Final = (*BOOK, "reference_close")
_FACTORS: Final = dict(zip((*PRICES, "reference_close"), (1.5, 1.6, 1.4, 1.55, 1.2), strict=True))


@dataclass(frozen=True, slots=True)
class Sample:
    """The minutes around random instants, (rows, minutes), and others to put in their place.

    ``place`` is where every row's newest known minute stands.
    """

    true: Columns
    noise: Columns
    place: int

    @classmethod
    def of(cls, minutes: Columns, rows: int, seed: int) -> Sample:
        """Random instants of one symbol's ``minutes``; in every other row the noise has no book and no
        reference."""
        random = np.random.default_rng(seed)
        place = MAX_WINDOW + EARLIER
        true = _windows(minutes, random.integers(place, len(minutes) - LATER, rows), place)
        other = seeded(place + LATER + 500, seed=seed + 1, price=3.0)
        noise = _windows(other, random.integers(place, place + 500, rows), place)
        for name in _UNKNOWN_AT_TIMES:
            getattr(noise, name)[::2] = np.nan
        return cls(true, noise, place)


def findings(feature: Feature, sample: Sample) -> set[str]:
    """What is not true of the feature's window; nothing, if it is what it says.

    Numbers are compared bit by bit. Whether a minute is needed at all is asked of minutes that stand still
    but for it, too: the last weight of an average drowns in the rounding of prices that move.
    """
    oldest, newest = EARLIER, EARLIER + feature.window - 1
    start, stop = sample.place - newest, sample.place + LATER + 1
    true, noise = sample.true.part(start, stop), sample.noise.part(start, stop)
    position = np.arange(stop - start)
    expected = _values(feature, true)[:, newest]
    found = set()
    if not _same(_values(feature, _where(position > newest, noise, true))[:, newest], expected):
        found.add(FUTURE)
    if not _same(_values(feature, true.part(0, newest + 1))[:, newest], expected):
        found.add(FUTURE)
    if not _same(_values(feature, _where(position < oldest, noise, true))[:, newest], expected):
        found.add(PAST)
    alone = true.part(oldest, newest + 1)
    if not _same(_values(feature, alone)[:, -1], expected):
        found.add(ALONE)
    few = _rows(alone, 8)
    grounds = (few, *_still(few))
    if not any(_matters(feature, ground, 0) for ground in grounds):
        found.add(LONG)
    if not any(_matters(feature, ground, feature.window - 1) for ground in grounds):
        found.add(LATE)
    return found


def _windows(minutes: Columns, ends: NDArray[np.int64], place: int) -> Columns:
    """A row for each of ``ends``, which stands at ``place``: in all of them a minute before the day's end,
    since what the calendar says changes then."""
    offsets = np.arange(-place, LATER + 1)
    places = ends[:, None] + offsets
    return Columns(START + MINUTE_MS * (offsets - 2), *(getattr(minutes, name)[places] for name in _DATA))


def _where(chosen: NDArray[np.bool_], noise: Columns, true: Columns) -> Columns:
    """``noise`` in the minutes ``chosen``, else ``true``."""
    both = ((getattr(noise, name), getattr(true, name)) for name in _DATA)
    return Columns(true.time, *(np.where(chosen, one, other) for one, other in both))


def _rows(minutes: Columns, most: int) -> Columns:
    return Columns(minutes.time, *(getattr(minutes, name)[:most] for name in _DATA))


def _still(minutes: Columns) -> Iterator[Columns]:
    """As many minutes in which prices, or volumes, or both, or only the reference stand still."""
    still = constant(len(minutes), volume=8.0)
    for names in (PRICES, FLOWS, (*PRICES, *FLOWS), (*PRICES, *FLOWS, *_UNKNOWN_AT_TIMES)):
        held: dict[str, Any] = {
            name: np.broadcast_to(getattr(still, name), minutes.close.shape) for name in names
        }
        yield replace(minutes, **held)


def _matters(feature: Feature, minutes: Columns, place: int) -> bool:
    """Whether any change of that one minute changes any row."""
    before = _values(feature, minutes)[:, -1]
    return any(not _same(_values(feature, other)[:, -1], before) for other in _changed(minutes, place))


def _changed(minutes: Columns, place: int) -> Iterator[Columns]:
    """The minutes with another candle, book and reference at ``place``: more of all, less, and later.

    And so much more that even the last weight of an average of averages of averages is heard.
    """
    for scale, power in ((1.0, 1.0), (1.0, -1.0), (1e30, 1.0)):
        copies: dict[str, Any] = {}
        for number, name in enumerate(_DATA[:-1]):
            values = np.array(getattr(minutes, name))
            values[:, place] *= scale * _FACTORS.get(name, 2.0 + number) ** power
            copies[name] = values
        copies["low"], copies["high"] = np.sort((copies["low"], copies["high"]), axis=0)
        yield replace(minutes, **copies)
    time = minutes.time.copy()
    time[place] += 100_000_000
    yield replace(minutes, time=time)


def _values(feature: Feature, minutes: Columns) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(feature.compute(minutes))


def _same(one: Floats, other: Floats) -> bool:
    return np.array_equal(one, other, equal_nan=True)

"""What a model is to learn. Labels see the future, so they have arrays of their own and no feature sees them.

A label of horizon H at ``time`` is about the H minutes that begin at ``time``. It is null unless the candle
that ends at ``time`` and every one of those H minutes is a real candle: one missing, in an outage or still to
come makes it null, even where a barrier was touched before. Otherwise the rows just before a hole, or before
now, would be kept only where a barrier was touched early.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from marketdata.features.columns import Floats

HORIZON_MOST: Final = 10_080
"""Minutes: a week."""
_FORMS: Final = "return:H, direction:H or barrier:H:UP:DOWN, such as return:15 or barrier:60:0.005:0.005"
_KINDS: Final = {"return": 0, "direction": 0, "barrier": 2}


class Prices(NamedTuple):
    """Closes, highs and lows of consecutive minutes, NaN where there is no real candle.

    The first minute is the one that ends at the first row's ``time``.
    """

    close: Floats
    high: Floats
    low: Floats


class LabelColumn(NamedTuple):
    """A column: its ``name``, whether it holds whole numbers, and ``values``, NaN where they are null."""

    name: str
    whole: bool
    values: Floats


Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Label:
    """``kind`` is return, direction or barrier; ``horizon`` in minutes; barriers in parts of the close."""

    kind: str
    horizon: int
    up: float = 0.0
    down: float = 0.0

    @property
    def text(self) -> str:
        """As it is asked for: ``barrier:60:0.005:0.005``."""
        barriers = f":{self.up!r}:{self.down!r}" if self.kind == "barrier" else ""
        return f"{self.kind}:{self.horizon}{barriers}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns: ``label_barrier_60_0.005_0.005`` and the same with ``_minutes``."""
        name = "label_" + self.text.replace(":", "_")
        return (name, f"{name}_minutes") if self.kind == "barrier" else (name,)

    @property
    def definition(self) -> str:
        """What it is, in words for the manifest."""
        return {
            "return": f"ln(close at time + {self.horizon} min / close at time)",
            "direction": f"sign of close at time + {self.horizon} min less close at time: -1, 0 or 1",
            "barrier": (
                f"1: a high of the next {self.horizon} min reaches close * (1 + {self.up!r}) first;"
                f" -1: a low reaches close * (1 - {self.down!r}) first; 0: neither;"
                " null with minutes set: both in one minute. minutes: until then, the horizon for 0"
            ),
        }[self.kind]


def parse(text: str) -> Label:
    """Return the label that ``text`` asks for. Raises ``ValueError`` with the rule it breaks."""
    kind, *parts = text.strip().split(":")
    if kind not in _KINDS or len(parts) != 1 + _KINDS[kind]:
        raise ValueError(f"{text!r} is not a label: {_FORMS}")
    if not re.fullmatch(r"[0-9]{1,6}", parts[0]) or not 1 <= int(parts[0]) <= HORIZON_MOST:
        raise ValueError(f"{text!r}: the horizon must be whole minutes from 1 to {HORIZON_MOST}")
    if kind != "barrier":
        return Label(kind, int(parts[0]))
    try:
        up, down = (float(part) for part in parts[1:])
    except ValueError:
        raise ValueError(f"{text!r}: the barriers must be fractions of the close such as 0.005") from None
    if not (0 < up <= 100 and 0 < down < 1):
        raise ValueError(f"{text!r}: UP must be above 0 and at most 100, DOWN above 0 and below 1")
    return Label(kind, int(parts[0]), up, down)


def columns(label: Label, prices: Prices, rows: int) -> tuple[LabelColumn, ...]:
    """Return the columns of ``label`` for the first ``rows`` minutes of ``prices``.

    ``prices`` holds at least ``rows + label.horizon`` minutes.
    """
    close, ahead = prices.close[:rows], prices.close[label.horizon : label.horizon + rows]
    whole = _whole(prices.close, label.horizon, rows)
    if label.kind == "barrier":
        return _barrier(label, prices, rows, whole)
    if label.kind == "direction":
        return (LabelColumn(label.names[0], True, np.where(whole, np.sign(ahead - close), np.nan)),)
    return (LabelColumn(label.names[0], False, np.where(whole, np.log(ahead / close), np.nan)),)


def _whole(close: Floats, horizon: int, rows: int) -> Bools:
    """Whether each row's own candle and the ``horizon`` after it are all real."""
    absent = np.concatenate(([0], np.cumsum(np.isnan(close))))
    return np.asarray(absent[horizon + 1 : horizon + 1 + rows] == absent[:rows])


def _barrier(label: Label, prices: Prices, rows: int, whole: Bools) -> tuple[LabelColumn, ...]:
    """The triple barrier (Lopez de Prado 2018, 3.4): upper, lower and, at the horizon, vertical.

    Candles do not say which of two barriers was touched first within a minute: then the label is null.
    """
    close = prices.close[:rows]
    upper, lower = close * (1.0 + label.up), close * (1.0 - label.down)
    touched = np.where(whole, 0.0, np.nan)
    minutes = np.where(whole, float(label.horizon), np.nan)
    waiting = np.flatnonzero(whole)
    for minute in range(1, label.horizon + 1):
        if not waiting.size:
            break
        above = prices.high[waiting + minute] >= upper[waiting]
        below = prices.low[waiting + minute] <= lower[waiting]
        touched[waiting[above]] = 1.0
        touched[waiting[below]] = -1.0
        touched[waiting[above & below]] = np.nan
        minutes[waiting[above | below]] = minute
        waiting = waiting[~(above | below)]
    return LabelColumn(label.names[0], True, touched), LabelColumn(label.names[1], True, minutes)

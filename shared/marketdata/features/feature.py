"""What a feature is: its name, its window, its formula and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from marketdata.features.columns import Columns, Floats

Compute = Callable[[Columns], Floats]
"""Minutes without a missing one to one value a minute, of one symbol or of many: time is the last axis, and
no symbol's values depend on another's row. The first ``window - 1`` values are not read."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One number a minute, defined by the candles of the ``window`` minutes that end with it.

    ``inputs`` are the columns it reads. ``window`` counts minutes, the newest included, and holds
    all that the value depends on: nothing older has any weight at all. ``low`` and ``high`` bound
    the value, None where it is unbounded. ``since_version`` is the first feature set that has it.
    A changed formula is a new feature with a new name (``rsi_14_v2``); both stand in the row until the old
    one is retired: from the set ``retired_version`` on its place stays and holds null.
    """

    name: str
    group: str
    since_version: int
    inputs: tuple[str, ...]
    window: int
    unit: str
    low: float | None
    high: float | None
    formula: str
    source: str
    compute: Compute
    retired_version: int | None = None

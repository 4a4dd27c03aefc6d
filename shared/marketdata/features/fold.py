"""Sums and moments of a moving window from pairs of pairs, each window by the same tree of operations.

No running total is kept: such totals drift, and at the price of a bitcoin the difference of two of them is
noise (TA-Lib's VAR, STDDEV, BBANDS, CORREL and SUM). A window of 2m minutes is merged from its newer and its
older m, so n windows of w minutes cost n log w. What is outside the window has no weight at all, and the
order of operations depends on nothing but the window: live and in batch the result is the same, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from marketdata.features.columns import Floats

State: TypeAlias = tuple[Floats, ...]
"""Arrays whose last axis is time: what is known of the windows that end at each minute."""

Merge: TypeAlias = Callable[[State, State, int, int], State]
"""The state of a window from those of its newer and its older part, and how many minutes each holds."""


def fold(minutes: State, window: int, merge: Merge) -> State:
    """Merge the states of single minutes into those of every ``window`` minutes.

    The last axis of the result has ``window - 1`` elements fewer, none where there are not enough.
    """
    n = minutes[0].shape[-1]
    if n < window:
        return tuple(part[..., :0] for part in minutes)
    if n == window:
        return _fold_one(minutes, window, merge)
    size, power, rest = 1, minutes, window
    total, covered = minutes, 0
    while True:
        if rest & 1:
            older = tuple(part[..., : n - covered - size + 1] for part in power)
            newer = tuple(part[..., size:] for part in total)
            total = merge(newer, older, covered, size) if covered else power
            covered += size
        rest >>= 1
        if not rest:
            return total
        newer, older = (tuple(part[..., size:] for part in power), tuple(part[..., :-size] for part in power))
        power = merge(newer, older, size, size)
        size *= 2


def _fold_one(minutes: State, window: int, merge: Merge) -> State:
    """The same tree where there is one window only: each merge is made once."""
    size, rest, end = 1, window, window
    total, covered = minutes, 0
    while rest:
        if rest & 1:
            part = tuple(values[..., end - size : end] for values in minutes)
            width = 1
            while width < size:
                newer, older = (tuple(values[..., k::2] for values in part) for k in (1, 0))
                part = merge(newer, older, width, width)
                width *= 2
            total = merge(total, part, covered, size) if covered else part
            covered += size
            end -= size
        rest >>= 1
        size *= 2
    return total


def align(valid: Floats, length: int) -> Floats:
    """``valid``, the values of the newest minutes, behind as many NaN as make up ``length``."""
    out = np.empty((*valid.shape[:-1], length))
    first = length - valid.shape[-1]
    out[..., :first] = np.nan
    out[..., first:] = valid
    return out

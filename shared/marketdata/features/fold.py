"""Sums and moments of a moving window from pairs of pairs, each window by the same tree of operations.

No running total is kept: such totals drift, and at the price of a bitcoin the difference of two of them is
noise (TA-Lib's VAR, STDDEV, BBANDS, CORREL and SUM). A window of 2m minutes is merged from its newer and its
older m, so n windows of w minutes cost n log w. What is outside the window has no weight at all, and the
order of operations depends on nothing but the window: live and in batch the result is the same, bit by bit.

Arrays to write into are kept by each thread: to touch new memory costs as much as what is computed in it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from marketdata.features.columns import Floats

State: TypeAlias = tuple[Floats, ...]
"""Arrays whose last axis is time: what is known of the windows that end at each minute."""

Merge: TypeAlias = Callable[[State, State, int, int, State, State], None]
"""Write the state of a window, from those of its newer and its older part and how many minutes each holds.

It goes into the fifth argument, which is new, or the newer part itself. The sixth has arrays for what is
needed on the way.
"""

_KEPT_VALUES: Final = 65_536  # half a megabyte an array: what is larger is not kept
_KEPT_ARRAYS: Final = 16
_STEP: Final = 2_048  # sizes are multiples of it, so that folds of nearly as many minutes share arrays


def fold(minutes: State, window: int, merge: Merge, *, fixed: int = 0, scratch: int = 0) -> State:
    """Merge the states of single minutes into those of every ``window`` minutes.

    The first ``fixed`` arrays of a state are the values of its newest minute: no merge writes them, and the
    result is without them. A merge gets ``scratch`` arrays. The result's last axis has ``window - 1``
    elements fewer, none where there are not enough. It is the caller's to write over.
    """
    shape = minutes[0].shape
    n = shape[-1]
    if n < window:
        return tuple(np.empty((*shape[:-1], 0)) for _ in minutes[fixed:])
    if window == 1:
        return tuple(part.copy() for part in minutes[fixed:])
    longest = n - 1 if n > window else window // 2
    tree = _Tree(minutes, fixed, merge, scratch, longest)
    result = tree.newest(window) if n == window else tree.every(window)
    tree.close(result)
    return result


class _Kept(threading.local):
    """This thread's arrays that nobody reads."""

    def __init__(self) -> None:
        self.arrays: list[Floats] = []


_kept = _Kept()


class _Tree:
    """One ``fold``, and the arrays it writes into."""

    def __init__(self, minutes: State, fixed: int, merge: Merge, scratch: int, longest: int) -> None:
        self._values, self._single, self._merge = minutes[:fixed], minutes[fixed:], merge
        self._lead = minutes[0].shape[:-1]
        self._n = minutes[0].shape[-1]
        self._size = math.prod(self._lead) * longest
        self._all: list[Floats] = []
        self._free: list[Floats] = []
        self._scratch = [self._array() for _ in range(scratch)]

    def every(self, window: int) -> State:
        """The state of every window."""
        size, power, rest = 1, self._single, window
        total, covered = power, 0
        while True:
            if rest & 1:
                total = self._joined(total, covered, power, size) if covered else power
                covered += size
            rest >>= 1
            if not rest:
                return total
            doubled = self._joined(power, size, power, size)
            if total is not power:
                self._release(power)
            power = doubled
            size *= 2

    def _joined(self, newer: State, n: int, older: State, m: int) -> State:
        """Each window of ``n + m`` minutes; ``newer`` is written over unless it is ``older``, too."""
        length = self._n - n - m + 1
        late = tuple(part[..., m:] for part in newer)
        early = tuple(part[..., :length] for part in older)
        new = newer is older or newer is self._single
        out = self._take(length) if new else late
        self._merge(
            (*(part[..., n + m - 1 :] for part in self._values), *late),
            (*(part[..., m - 1 : m - 1 + length] for part in self._values), *early),
            n, m, out, self._room(length),
        )  # fmt: skip
        return out

    def newest(self, window: int) -> State:
        """The state of the newest window: the same tree, of which each merge is made once.

        Where a part of this size belongs to it, the newest one is taken off; of all others two become one.
        """
        stop, width, rest = self._n, 1, window
        part = tuple(one[..., stop - window :] for one in self._single)
        total: State = ()
        while True:
            if rest & 1:
                late = tuple(one[..., -1:] for one in part)
                if total:
                    values = tuple(one[..., stop - 1 : stop] for one in self._values)
                    out = self._take(1)
                    self._merge(
                        (*(one[..., -1:] for one in self._values), *total), (*values, *late),
                        self._n - stop, width, out, self._room(1),
                    )  # fmt: skip
                    total = out
                else:
                    # What it lies in is written over by later merges.
                    total = tuple(one.copy() for one in late)
                stop -= width
                part = tuple(one[..., :-1] for one in part)
            rest >>= 1
            if not rest:
                return total
            part = self._paired(part, width, rest, stop)
            width *= 2

    def _paired(self, part: State, width: int, pairs: int, stop: int) -> State:
        """Merge the ``pairs`` of neighbours among parts of ``width`` minutes, the newest of which ends at
        ``stop``.
        """
        start, step = stop - 2 * pairs * width, 2 * width
        late, early = (
            (
                *(one[..., start + last : stop : step] for one in self._values),
                *(one[..., place::2] for one in part),
            )
            for place, last in ((1, step - 1), (0, width - 1))
        )
        out = self._take(pairs)
        self._merge(late, early, width, width, out, self._room(pairs))
        if width > 1:
            self._release(part)
        return out

    def _array(self) -> Floats:
        if self._free:
            return self._free.pop()
        kept = _kept.arrays
        one = kept.pop() if kept and self._size <= _KEPT_VALUES else None
        if one is None or one.size < self._size:
            one = np.empty(-(-self._size // _STEP) * _STEP)
        self._all.append(one)
        return one

    def _cut(self, one: Floats, length: int) -> Floats:
        return _laid(one[: math.prod(self._lead) * length], self._lead, length)

    def _take(self, length: int) -> State:
        return tuple(self._cut(self._array(), length) for _ in self._single)

    def _room(self, length: int) -> State:
        return tuple(self._cut(one, length) for one in self._scratch)

    def _release(self, state: State) -> None:
        if not any(part is single for part, single in zip(state, self._single, strict=True)):
            self._free.extend(part.base for part in state if part.base is not None)

    def close(self, result: State) -> None:
        """Keep the arrays for the next, but for those of ``result``, which are the caller's now."""
        if self._size > _KEPT_VALUES:
            return
        given = {id(part.base) for part in result}
        room = _KEPT_ARRAYS - len(_kept.arrays)
        _kept.arrays.extend([one for one in self._all if id(one) not in given][: max(0, room)])


def align(valid: Floats, length: int) -> Floats:
    """``valid``, the values of the newest minutes, behind as many NaN as make up ``length``."""
    out = undefined(valid, length)
    out[..., length - valid.shape[-1] :] = valid
    return out


def quotient(dividend: Floats, divisor: Floats, length: int) -> Floats:
    """The one over the other, behind NaN as by ``align``: of the divisor count the newest minutes."""
    out = undefined(dividend, length)
    first = divisor.shape[-1] - dividend.shape[-1]
    np.divide(dividend, divisor[..., first:], out=out[..., length - dividend.shape[-1] :])
    return out


def undefined(valid: Floats, length: int) -> Floats:
    """Room for ``length`` minutes like ``valid``, NaN before the newest, which are to be written."""
    lead = valid.shape[:-1]
    out = _laid(np.empty(math.prod(lead) * length), lead, length)
    out[..., : length - valid.shape[-1]] = np.nan
    return out


def _laid(memory: Floats, lead: tuple[int, ...], length: int) -> Floats:
    """``memory`` as (symbols, minutes): minute after minute, of each all symbols side by side.

    Every other minute, which a fold reads, is then made of whole pieces of memory.
    """
    if len(lead) == 1:
        return memory.reshape(length, lead[0]).T
    return np.moveaxis(memory.reshape((length, *lead)), 0, -1) if lead else memory

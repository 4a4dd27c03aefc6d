"""Purged splits, against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.export import purged_folds, walk_forward
from marketdata.models import MINUTE_MS

minutes = st.lists(st.integers(0, 300), min_size=12, max_size=120).filter(lambda m: len(set(m)) >= 8)
"""Several symbols' rows: the same minute may come many times, and in any order."""


@settings(max_examples=300, deadline=None)
@given(minutes, st.integers(0, 40), st.integers(2, 7), st.integers(0, 60))
def test_purged_folds(rows: list[int], horizon: int, folds: int, embargo: int) -> None:
    time = np.array(rows, dtype=np.int64)
    tested = np.zeros(len(rows), dtype=int)
    for train, test in purged_folds(time * MINUTE_MS, horizon, folds=folds, embargo_minutes=embargo):
        tested[test] += 1
        assert len(test)
        first, last = time[test].min(), time[test].max()
        for place in range(len(rows)):
            begins, ends = time[place], time[place] + horizon
            touches = ends >= first and begins <= last + horizon
            embargoed = last + horizon < begins <= last + horizon + embargo
            # Exactly the rows that neither touch the test nor follow it too closely are trained on.
            assert (place in train) == (not touches and not embargoed)
            # An instant is never on both sides, whatever symbol it is of.
            assert (place in test) == (first <= begins <= last)
    assert set(tested) == {1}


@settings(max_examples=200, deadline=None)
@given(minutes, st.integers(0, 40), st.integers(1, 7))
def test_walk_forward(rows: list[int], horizon: int, folds: int) -> None:
    time = np.array(rows, dtype=np.int64)
    splits = list(walk_forward(time * MINUTE_MS, horizon, folds=folds))
    assert len(splits) == folds
    tested = np.zeros(len(rows), dtype=int)
    for train, test in splits:
        tested[test] += 1
        assert set(train) == set(np.flatnonzero(time + horizon < time[test].min()))
    assert set(tested) <= {0, 1}
    assert time[tested == 0].max() < time[tested == 1].min()


def test_times_of_a_data_frame() -> None:
    day = np.arange("2026-01-01", "2026-01-02", dtype="datetime64[m]")
    ours = [fold.train.tolist() for fold in purged_folds(day, 15)]
    assert ours == [fold.train.tolist() for fold in purged_folds(day.astype("datetime64[ns]"), 15)]
    assert ours == [
        fold.train.tolist() for fold in purged_folds(day.astype("datetime64[ms]").astype(int), 15)
    ]


@pytest.mark.parametrize(
    ("time", "arguments", "reason"),
    [
        ([1.5, 2.5], {}, "milliseconds"),
        (np.array(["NaT", "2026-01-01"], dtype="datetime64[ms]"), {"folds": 2}, "NaT"),
        (np.arange(9), {"folds": 10}, "10 folds of 9 instants"),
        (np.arange(9), {"folds": 1}, "at least 2"),
        (np.arange(9), {"embargo_minutes": -1}, "not negative"),
    ],
)
def test_what_cannot_be_split(time: object, arguments: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list(purged_folds(time, 1, **arguments))  # type: ignore[arg-type]

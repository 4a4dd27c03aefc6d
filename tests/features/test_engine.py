"""Rows, nulls and coverage around missing and outage minutes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.features.samples import START, columns, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute, engine
from marketdata.features.columns import BOOK, FLOWS, PRICES
from marketdata.features.feature import Feature
from marketdata.models import MINUTE_MS

N = 2_000


def without(hole: slice, n: int = N) -> Columns:
    table = rows(n)
    keep = np.ones(n, dtype=bool)
    keep[hole] = False
    return columns(table[keep])


def defined(part: Columns) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return ~np.isnan(compute(part).values)


def test_a_row_is_timed_at_the_close_of_its_last_candle() -> None:
    result = compute(seeded(3))
    assert result.time.tolist() == [START + MINUTE_MS * (i + 1) for i in range(3)]
    assert result.values.shape == (3, len(NAMES))


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_missing_minute_nulls_exactly_the_windows_that_hold_it(feature: Feature) -> None:
    number = REGISTRY.index(feature)
    hole = 1_000
    whole, broken = defined(seeded(N))[:, number], defined(without(slice(hole, hole + 1)))[:, number]
    held = np.zeros(N, dtype=bool)
    held[hole : hole + REGISTRY[number].window] = True
    np.testing.assert_array_equal(broken, whole & ~held)


def test_a_feature_begins_when_its_window_is_full() -> None:
    table = rows(N)
    table[:, 5:] += 1.0  # something trades in every minute
    first = np.argmax(defined(columns(table)), axis=0)
    assert first.tolist() == [feature.window - 1 for feature in REGISTRY]


def test_only_minutes_with_a_candle_are_emitted() -> None:
    hole = Columns.from_rows(
        START, START + 4 * MINUTE_MS, rows(4)[[0, 2]], [(START + MINUTE_MS, START + 2 * MINUTE_MS)]
    )
    assert compute(hole).emit.tolist() == [True, False, True, False]


def test_coverage_is_the_share_of_real_candles() -> None:
    coverage = compute(without(slice(1_500, 1_510))).window_coverage
    assert coverage[0] == 1 / MAX_WINDOW
    assert coverage[MAX_WINDOW - 2] < 1.0
    assert coverage[MAX_WINDOW - 1] == 1.0
    assert coverage[1_600] == (MAX_WINDOW - 10) / MAX_WINDOW


def test_an_outage_lowers_coverage_and_nulls_no_price_feature() -> None:
    table = rows(N)
    hole = Columns.from_rows(
        START,
        START + N * MINUTE_MS,
        np.delete(table, slice(1_500, 1_510), axis=0),
        [(START + 1_500 * MINUTE_MS, START + 1_510 * MINUTE_MS)],
    )
    result = compute(hole)
    row = dict(zip(NAMES, result.values[1_520], strict=True))
    assert result.window_coverage[1_520] == (MAX_WINDOW - 10) / MAX_WINDOW
    assert {name for name, value in row.items() if np.isnan(value)} == {"spread_bps", "book_imbalance"}
    assert row["return_15m"] == pytest.approx(np.log(hole.close[1_520] / hole.close[1_499]))


def test_the_last_rows_are_those_of_the_whole() -> None:
    part = without(slice(1_700, 1_703))
    whole = compute(part)
    for last in (1, 7, N, N + 5):
        result = compute(part, last)
        np.testing.assert_array_equal(result.values, whole.values[-last:])
        np.testing.assert_array_equal(result.window_coverage, whole.window_coverage[-last:])
        np.testing.assert_array_equal(result.time, whole.time[-last:])
        np.testing.assert_array_equal(result.emit, whole.emit[-last:])


def test_the_size_of_a_chunk_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    part = without(slice(1_700, 1_703))
    whole = compute(part)
    monkeypatch.setattr(engine, "CHUNK_ROWS", 97)
    np.testing.assert_allclose(compute(part).values, whole.values, rtol=0, atol=1e-12)


def test_impossible_prices_give_null_and_never_infinity() -> None:
    table = rows(N)
    table[1_500, 1:5] = 0.0
    table[1_600, 1:5] = -1.0
    table[1_700, 1:5] = 1e308
    values = compute(columns(table)).values
    assert not np.isinf(values).any()


def test_no_minutes_give_no_rows() -> None:
    assert compute(seeded(3).part(0, 0)).values.shape == (0, len(NAMES))


def test_columns_that_do_not_fit_together_are_refused() -> None:
    part = seeded(5)
    with pytest.raises(ValueError, match="different lengths"):
        compute(replace(part, close=part.close[1:]))
    with pytest.raises(ValueError, match="consecutive"):
        compute(replace(part, time=part.time[::-1].copy()))
    with pytest.raises(ValueError, match="at least one row"):
        compute(part, 0)


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_feature_reads_its_inputs_and_nothing_else(feature: Feature) -> None:
    part = seeded(feature.window + 5)
    others = {*PRICES, *FLOWS, *BOOK} - {*feature.inputs}
    with np.errstate(all="ignore"):
        expected = feature.compute(part)
        actual = feature.compute(replace(part, **dict.fromkeys(others, np.full(len(part), np.nan))))
    np.testing.assert_array_equal(actual, expected)

"""Sparse rows onto the minute grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.features.samples import START, rows, seeded

from marketdata.features.columns import FLAT, MISSING, PRESENT, Columns
from marketdata.models import MINUTE_MS, Candle


def minute(place: int) -> int:
    return START + place * MINUTE_MS


def lay(places: list[int], n: int, outages: list[tuple[int, int]] | None = None, **more: float) -> Columns:
    ranges = [(minute(a), minute(b)) for a, b in outages or []]
    return Columns.from_rows(START, minute(n), rows(n)[places], ranges, **more)  # type: ignore[arg-type]


def test_a_minute_without_a_row_is_missing() -> None:
    laid = lay([0, 2], 3)
    assert laid.state.tolist() == [PRESENT, MISSING, PRESENT]
    assert laid.time.tolist() == [minute(0), minute(1), minute(2)]
    assert math.isnan(laid.close[1])
    assert math.isnan(laid.volume[1])
    laid.check()


def test_an_outage_enters_flat_at_the_close_before() -> None:
    laid = lay([0, 1, 5], 6, [(2, 5)])
    assert laid.state.tolist() == [PRESENT, PRESENT, FLAT, FLAT, FLAT, PRESENT]
    for name in ("open", "high", "low", "close"):
        assert set(getattr(laid, name)[2:5]) == {laid.close[1]}
    for name in ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"):
        assert getattr(laid, name)[2:5].tolist() == [0.0, 0.0, 0.0]


def test_a_candle_beats_an_outage() -> None:
    laid = lay([0, 2], 4, [(-5, 40)], previous_close=3.0)
    assert laid.state.tolist() == [PRESENT, FLAT, PRESENT, FLAT]


def test_an_outage_of_unknown_price_stays_missing() -> None:
    assert lay([2], 3, [(0, 2)]).state.tolist() == [MISSING, MISSING, PRESENT]
    assert lay([0, 4], 5, [(2, 4)]).state.tolist() == [PRESENT, MISSING, MISSING, MISSING, PRESENT]


def test_the_close_before_the_range_fills_an_outage_at_its_start() -> None:
    laid = lay([2], 3, [(-9, 2)], previous_close=12.5)
    assert laid.state.tolist() == [FLAT, FLAT, PRESENT]
    assert laid.close[:2].tolist() == [12.5, 12.5]


def test_an_outage_outside_the_range_changes_nothing() -> None:
    assert lay([0], 2, [(-9, -3), (2, 7)]).state.tolist() == [PRESENT, MISSING]


def test_books_are_unknown_where_there_is_no_row() -> None:
    laid = Columns.from_rows(START, minute(2), rows(2), books=[(minute(1), 1.5, -0.25)])
    assert math.isnan(laid.spread_bps[0])
    assert (laid.spread_bps[1], laid.imbalance[1]) == (1.5, -0.25)


def test_candles_of_the_model_fit_without_their_symbol() -> None:
    candle = Candle("BTCUSDT", START, 1.0, 4.0, 0.5, 2.0, 10.0, 20.0, 3, 5.0, 11.0)
    laid = Columns.from_rows(START, minute(1), [candle[1:]])
    assert [getattr(laid, name)[0] for name in Candle._fields[2:]] == list(candle[2:])


def test_no_rows_at_all() -> None:
    laid = Columns.from_rows(START, minute(2), [])
    assert laid.state.tolist() == [MISSING, MISSING]


@pytest.mark.parametrize("time", [START - MINUTE_MS, START + MINUTE_MS, START + 1])
def test_a_row_outside_the_range_or_off_the_grid_is_refused(time: int) -> None:
    row = rows(1)
    row[0, 0] = time
    with pytest.raises(ValueError, match="off the minute grid or outside"):
        Columns.from_rows(START, minute(1), row)


def test_rows_of_another_width_and_odd_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of 10 numbers"):
        Columns.from_rows(START, minute(1), rows(1)[:, :9])
    with pytest.raises(ValueError, match="whole minutes"):
        Columns.from_rows(START, START + 1, [])


def test_following_minutes_are_the_same_as_one_range() -> None:
    whole = lay([0, 1, 5], 6, [(2, 5)])
    early = whole.part(0, 3)
    later = Columns.from_rows(
        minute(3), minute(6), rows(6)[[5]], [(minute(2), minute(5))], previous_close=float(early.close[-1])
    )
    joined = early.followed_by(later, keep=4)
    joined.check()
    for name in ("time", "close", "volume", "state"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name)[2:])


def test_a_part_is_a_view() -> None:
    whole = seeded(10)
    part = whole.part(2, 5)
    assert len(part) == 3
    assert np.shares_memory(part.close, whole.close)

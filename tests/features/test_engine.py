"""Rows, nulls and coverage around missing and outage minutes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.features.samples import START, columns, gappy, rows, seeded

from marketdata.features import MAX_WINDOW, NAMES, REGISTRY, Columns, compute, engine
from marketdata.features.columns import BOOK, FLOWS, MISSING, PRICES, Floats
from marketdata.features.engine import Result, compute_instant
from marketdata.features.feature import Feature
from marketdata.models import MINUTE_MS

N = 2_000
FIELDS = (*PRICES, *FLOWS, *BOOK, "reference_close")


def holed(table: Floats, hole: slice) -> Columns:
    keep = np.ones(len(table), dtype=bool)
    keep[hole] = False
    return columns(table[keep])


def without(hole: slice, n: int = N) -> Columns:
    return holed(rows(n), hole)


def defined(part: Columns) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return ~np.isnan(compute(part).values)


def test_a_row_is_timed_at_the_close_of_its_last_candle() -> None:
    result = compute(seeded(3))
    assert result.time.tolist() == [START + MINUTE_MS * (i + 1) for i in range(3)]
    assert result.values.shape == (3, len(NAMES))


HOLE = MAX_WINDOW + 100


@cache
def around_a_hole() -> tuple[np.ndarray[tuple[int, int], np.dtype[np.bool_]], ...]:
    """What is defined in a history, and in the same without the minute HOLE."""
    n = HOLE + MAX_WINDOW + 100
    return defined(seeded(n)), defined(without(slice(HOLE, HOLE + 1), n))


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_missing_minute_nulls_exactly_the_windows_that_hold_it(feature: Feature) -> None:
    number = REGISTRY.index(feature)
    whole, broken = (known[:, number] for known in around_a_hole())
    held = np.zeros(len(whole), dtype=bool)
    held[HOLE : HOLE + feature.window] = True
    assert whole[HOLE - 1]
    assert whole[-1]
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
    # The book was not seen, and there is no reference beside these minutes.
    unseen = {*BOOK, "reference_close"}
    assert {name for name, value in row.items() if np.isnan(value)} == {
        feature.name for feature in REGISTRY if unseen & {*feature.inputs}
    }
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


def test_what_is_chosen_has_the_bits_it_has_among_all_and_nothing_else_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = without(slice(1_700, 1_703))
    whole = compute(given)
    instant = compute_instant(Columns.stack([given, given]), 3)
    places = [NAMES.index(name) for name in ("rsi_14", "return_5m", "btc_beta_60m", "volatility_1440m")]

    def never(_: Columns) -> Floats:
        raise AssertionError("nobody asked for it")

    only = tuple((n, f if n in places else replace(f, compute=never)) for n, f in engine.ACTIVE)
    monkeypatch.setattr(engine, "ACTIVE", only)
    chosen = compute(given, places=places)
    assert chosen.values.tobytes() == whole.values[:, places].tobytes()
    assert np.array_equal(chosen.emit, whole.emit)
    assert np.array_equal(chosen.window_coverage, whole.window_coverage)
    chosen = compute_instant(Columns.stack([given, given]), 3, places)
    assert chosen.values.tobytes() == instant.values[:, places].tobytes()
    assert np.array_equal(chosen.emit, instant.emit)


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


def market() -> list[Columns]:
    """The same minutes of symbols with a whole history, with holes, with outages and with a late start."""
    n = MAX_WINDOW + 300
    outages = [(START + first * MINUTE_MS, START + (first + 40) * MINUTE_MS) for first in (200, n - 90)]
    still_halted = [(START + (n - 5) * MINUTE_MS, START + n * MINUTE_MS)]
    halted = np.delete(rows(n, seed=4), [*range(200, 240), *range(n - 90, n - 50)], axis=0)
    reference = seeded(n, seed=9)
    symbols = [
        reference,
        columns(gappy(n, seed=2, price=1e-5, tick=1e-8)),
        holed(rows(n, seed=3), slice(n - 700, n - 699)),
        holed(rows(n, seed=3), slice(n - 40, n - 37)),
        Columns.from_rows(START, START + n * MINUTE_MS, halted, outages),
        Columns.from_rows(START, START + n * MINUTE_MS, rows(n, seed=8)[: n - 5], still_halted),
        columns(gappy(n, seed=5, price=1e6, tick=1e-2)[n - 90 :]),
        columns(rows(n, seed=6)[n - 1 :]),
        holed(rows(n, seed=7), slice(0, n - MAX_WINDOW)),
    ]
    return [one.beside(reference) for one in symbols]


@pytest.mark.parity
def test_an_instant_of_many_symbols_is_the_last_row_of_each() -> None:
    symbols = market()
    instant = compute_instant(Columns.stack(symbols))
    for place, minutes in enumerate(symbols):
        assert_row(instant, place, compute(minutes, last=1))
        assert_row(instant, place, compute(minutes), close=1e-9)


@pytest.mark.parity
def test_an_instant_of_a_newest_minute_that_is_missing_has_no_row_to_emit() -> None:
    n = MAX_WINDOW + 5
    missing, whole = seeded(n, seed=3), seeded(n)
    for name in (*PRICES, *FLOWS):
        getattr(missing, name)[-1] = np.nan
    missing.state[-1] = MISSING
    instant = compute_instant(Columns.stack([missing, whole]))
    assert instant.emit.tolist() == [False, True]
    assert np.isnan(instant.values[0]).all()
    assert_row(instant, 1, compute(whole, last=1))


@pytest.mark.parity
@pytest.mark.parametrize("n", [1, 2, 61, MAX_WINDOW - 1, MAX_WINDOW])
def test_an_instant_of_a_short_history_has_the_features_that_fit(n: int) -> None:
    symbols = [seeded(n), columns(gappy(n, seed=2))]
    instant = compute_instant(Columns.stack(symbols))
    for place, minutes in enumerate(symbols):
        assert_row(instant, place, compute(minutes, last=1))
    assert instant.window_coverage.tolist() == [n / MAX_WINDOW] * 2


@pytest.mark.parity
@pytest.mark.parametrize("n", [70, MAX_WINDOW + 40])
def test_several_instants_of_many_symbols_are_the_last_rows_of_each(n: int) -> None:
    reference = seeded(n, seed=31)
    symbols = [one.beside(reference) for one in (seeded(n), columns(gappy(n, seed=2)), seeded(n, seed=3))]
    missing = n - 20
    for name in (*PRICES, *FLOWS):
        getattr(symbols[2], name)[missing] = np.nan
    symbols[2].state[missing] = MISSING
    together = compute_instant(Columns.stack(symbols), 33)
    for place, minutes in enumerate(symbols):
        rows = together.part(slice(33 * place, 33 * (place + 1)))
        alone = compute(minutes, last=33)
        np.testing.assert_allclose(rows.values, alone.values, rtol=0, atol=1e-9)
        for name in ("time", "window_coverage", "emit"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(alone, name))


def test_an_instant_needs_a_minute() -> None:
    with pytest.raises(ValueError, match="no minutes"):
        compute_instant(Columns.stack([seeded(3).part(0, 0)]))


def assert_row(instant: Result, place: int, last: Result, close: float = 0.0) -> None:
    """Bit by bit where the last row was computed from the same minutes."""
    np.testing.assert_allclose(instant.values[place], last.values[-1], rtol=0, atol=close)
    assert instant.window_coverage[place] == last.window_coverage[-1]
    assert instant.emit[place] == last.emit[-1]
    assert instant.time[place] == last.time[-1]


@cache
def mixed() -> Columns:
    """Minutes in which no column follows from the others."""
    n = MAX_WINDOW + 30
    return columns(gappy(n, seed=11), rows(n, seed=12, price=40.0))


@cache
def values_with(mode: str, changed: frozenset[str]) -> tuple[Floats, Floats]:
    """Values in batch, and of the newest minute beside another symbol, with these columns changed."""
    minutes = mixed()
    draw = np.random.default_rng(13)
    new: dict[str, Floats] = {}
    for name in sorted(changed - {"time"}):
        noise = 1.0 + draw.random(len(minutes))
        new[name] = np.full(len(minutes), np.nan) if mode == "poisoned" else getattr(minutes, name) * noise
    time = minutes.time + (100_003 * MINUTE_MS if "time" in changed else 0)
    other = replace(minutes, time=time, **new)
    return compute(other).values, compute_instant(Columns.stack([other, other])).values


@pytest.mark.parametrize("feature", REGISTRY, ids=NAMES)
def test_a_feature_reads_its_inputs_and_nothing_else(feature: Feature) -> None:
    """Every column that it does not name is poisoned with NaN, and the calendar with other days."""
    number = REGISTRY.index(feature)
    undeclared = frozenset({"time", *FIELDS} - {*feature.inputs})
    for actual, expected in zip(
        values_with("poisoned", undeclared), values_with("poisoned", frozenset()), strict=True
    ):
        np.testing.assert_array_equal(actual[:, number], expected[:, number])
        assert not np.isnan(expected[-1, number])


@pytest.mark.parametrize(
    ("feature", "name"),
    [(feature, name) for feature in REGISTRY for name in feature.inputs],
    ids=[f"{feature.name}-{name}" for feature in REGISTRY for name in feature.inputs],
)
def test_a_declared_input_matters(feature: Feature, name: str) -> None:
    number = REGISTRY.index(feature)
    for actual, expected in zip(
        values_with("noisy", frozenset({name})), values_with("noisy", frozenset()), strict=True
    ):
        assert actual[-1, number] != expected[-1, number]

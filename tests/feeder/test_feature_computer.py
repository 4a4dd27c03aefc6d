"""Rows from memory and their pieces, without a database."""

from __future__ import annotations

import numpy as np
import pytest
from tests.feeder.feature_rows import at, candle

from data_feeder.computer import CHUNK_MS, LOADED_MOST, Computer, last_candles, loadable
from data_feeder.refresher import chunks
from data_feeder.rows import WRITTEN_MOST, Rows, lacking, statements
from marketdata.features.columns import PRESENT, REFERENCE, Columns
from marketdata.features.cross import CROSS_WINDOW
from marketdata.features.engine import Result, compute
from marketdata.features.registry import MAX_WINDOW, NAMES
from marketdata.models import MINUTE_MS

OTHERS = ["ETHUSDT", "SOLUSDT"]


def minutes(symbol: str, first: int, stop: int) -> Columns:
    """A symbol's minutes beside the reference's."""

    def own(of: str) -> Columns:
        return Columns.from_rows(at(first), at(stop), [candle(of, n)[1:] for n in range(first, stop)])

    return own(symbol).beside(own(REFERENCE))


def result(rows: int, first: int = 0) -> Result:
    """Rows of consecutive instants, the first the close of minute ``first``."""
    time = at(first + 1) + MINUTE_MS * np.arange(rows, dtype=np.int64)
    return Result(time, np.arange(rows, dtype=float)[:, None], np.ones(rows), np.full(rows, True))


async def test_rows_computed_ahead_are_those_computed_at_once() -> None:
    reference = candle(REFERENCE, 0).close
    computers = Computer(), Computer()
    made: list[Rows] = []
    for early, computer in zip((True, False), computers, strict=True):
        for symbol in OTHERS:
            await computer.put([symbol], minutes(symbol, -MAX_WINDOW, 0))
        due = {symbol: [candle(symbol, 0)] for symbol in OTHERS}
        assert computer.sorted_out(due) == ({at(0): OTHERS}, [])
        books = [(0.5, 0.25)] * len(OTHERS)
        candles = [candles[0] for candles in due.values()]
        await computer.append(at(0), candles, books, np.nan if early else reference)
        if early:
            assert computer.sorted_out(due) == ({}, OTHERS), "not while it is computed"
            await computer.compute_ahead(at(0), OTHERS)
            assert computer.sorted_out(due) == ({at(0): OTHERS}, [])
            assert computer.early_and_fresh(OTHERS) == (OTHERS, [])
            computer.board.compare(at(0), OTHERS, reference)
        assert computer.early_and_fresh(OTHERS) == ((OTHERS, []) if early else ([], OTHERS))
        async with computer.instant(at(0), OTHERS) as parts:
            ((part, rows),) = parts
            made.append(await rows)
        assert part == OTHERS
        computer.done(OTHERS)
        assert computer.early_and_fresh(OTHERS) == ([], OTHERS)
    ahead, at_once = made
    assert ahead.symbols == at_once.symbols == OTHERS
    assert ahead.lacking == at_once.lacking == []
    np.testing.assert_array_equal(ahead.result.values, at_once.result.values)
    alone = compute(minutes("ETHUSDT", 1 - MAX_WINDOW, 1), 1)
    place = NAMES.index("btc_correlation_60m")
    assert ahead.result.values[0, place] == pytest.approx(alone.values[0, place], abs=1e-9)


async def test_what_is_forgotten_is_neither_on_the_board_nor_computed_ahead() -> None:
    computer = Computer()
    for symbol in OTHERS:
        await computer.put([symbol], minutes(symbol, -MAX_WINDOW, 0))
    await computer.compute_ahead(at(-1), OTHERS)
    computer.forget(["ETHUSDT"])
    assert computer.early_and_fresh(OTHERS) == (["SOLUSDT"], ["ETHUSDT"])
    assert (computer.board.end("ETHUSDT"), computer.board.end("SOLUSDT")) == (None, at(0))
    computer.forget()
    assert computer.early_and_fresh(OTHERS) == ([], OTHERS)
    assert computer.board.end("SOLUSDT") is None


async def test_each_symbol_is_kept_up_to_its_last_candle() -> None:
    window = Columns.stack([minutes(symbol, -MAX_WINDOW - 3, 0) for symbol in OTHERS])
    window.state[1, -2:] = PRESENT + 1
    assert last_candles(window).tolist() == [MAX_WINDOW + 3, MAX_WINDOW + 1]
    computer = Computer()
    await computer.put_up_to_the_last_candle(OTHERS, window)
    assert [computer.board.end(symbol) for symbol in OTHERS] == [at(0), at(-2)]
    window.state[:] = PRESENT + 1
    assert last_candles(window).tolist() == [0, 0]


def test_rows_lack_the_references_minutes_that_they_compare_with() -> None:
    columns = minutes("ETHUSDT", -CROSS_WINDOW - 10, 0)
    rows = result(2, -2)
    assert lacking(columns, rows) == []
    oldest = int(rows.time[0]) - CROSS_WINDOW * MINUTE_MS
    for time, lacks in ((oldest - MINUTE_MS, False), (oldest, True), (at(-1), True)):
        columns.reference_close[:] = 1.0
        columns.reference_close[columns.time == time] = np.nan
        assert lacking(columns, rows) == ([time] if lacks else [])
    rows.emit[1] = False
    assert lacking(columns, rows) == [], "the row that lacks it is none"
    rows.emit[0] = False
    assert lacking(columns, rows) == []


@pytest.mark.parametrize(
    ("symbols", "each", "expected"),
    [
        (3, 50, [100, 50]),
        (2, WRITTEN_MOST + 1, [WRITTEN_MOST + 1, WRITTEN_MOST + 1]),
        (300, 1, [WRITTEN_MOST, WRITTEN_MOST, 300 - 2 * WRITTEN_MOST]),
    ],
)
def test_statements_hold_all_rows_of_a_symbol_or_none(symbols: int, each: int, expected: list[int]) -> None:
    names = [f"S{n}" for n in range(symbols) for _ in range(each)]
    rows = Rows(names, result(symbols * each), [at(0)])
    parts = list(statements(rows))
    assert [len(part.symbols) for part in parts] == expected
    assert [name for part in parts for name in part.symbols] == names
    np.testing.assert_array_equal(np.concatenate([p.result.time for p in parts]), rows.result.time)
    assert all(part.lacking == [at(0)] for part in parts)


def test_rows_of_one_symbol_are_one_statement() -> None:
    rows = Rows("ETHUSDT", result(3 * WRITTEN_MOST), [])
    assert list(statements(rows)) == [rows]


def test_stale_ranges_are_cut_from_their_ends_and_nothing_is_left_out() -> None:
    long = (at(0), at(0) + 2 * CHUNK_MS + MINUTE_MS)
    assert chunks([(at(-9), at(-4)), long]) == [
        (long[1] - CHUNK_MS, long[1]),
        (at(0) + MINUTE_MS, long[1] - CHUNK_MS),
        (at(0), at(0) + MINUTE_MS),
        (at(-9), at(-4)),
    ]


def test_fewer_symbols_are_read_at_once_where_more_rows_are_wanted() -> None:
    names = [f"S{n}" for n in range(200)]
    for rows in (1, 100, 1440, 90 * 1440):
        parts = list(loadable(names, rows))
        assert [name for part in parts for name in part] == names
        assert all(len(part) == 1 or len(part) * (MAX_WINDOW + rows) <= LOADED_MOST for part in parts)
    assert len(parts) == len(names)

"""The board against Columns joined one by one; and for how long a row waits for the reference."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.feeder.feature_rows import SYMBOLS, at, candle

from data_feeder.board import LAG_MINUTES, SLACK_MINUTES, Board
from data_feeder.patience import IN_VAIN_MOST, REFERENCE_SECONDS, ReferencePatience
from marketdata.features.columns import REFERENCE, Columns

WINDOW = 50
NAMES = tuple(name for name in Columns.__dataclass_fields__ if not name.startswith("_"))


def minutes(symbol: str, first: int, stop: int) -> Columns:
    """A symbol's minutes beside the reference's, every third with a book."""

    def own(of: str) -> Columns:
        books = [(at(n), 0.5, n / 1e4) for n in range(first, stop) if n % 3 == 0]
        return Columns.from_rows(
            at(first), at(stop), [candle(of, n)[1:] for n in range(first, stop)], (), books
        )

    return own(symbol).beside(own(REFERENCE))


def append(board: Board, n: int, *symbols: str) -> None:
    books = [(0.5, n / 1e4) if n % 3 == 0 else (np.nan, np.nan)] * len(symbols)
    board.append(at(n), [candle(symbol, n) for symbol in symbols], books, candle(REFERENCE, n).close)


def equal(one: Columns, other: Columns) -> None:
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_minutes_added_one_by_one_are_the_same_minutes() -> None:
    board = Board(WINDOW)
    for symbol in SYMBOLS:
        board.put(symbol, minutes(symbol, -WINDOW - 10, 0))
    for n in range(2 * (LAG_MINUTES + SLACK_MINUTES) + 7):
        append(board, n, *SYMBOLS)
        right = Columns.stack([minutes(symbol, n + 1 - WINDOW, n + 1) for symbol in SYMBOLS])
        equal(board.together(SYMBOLS, at(n + 1)).part(0, WINDOW), right)
    equal(board.columns("ETHUSDT"), minutes("ETHUSDT", n + 1 - WINDOW, n + 1))


def test_symbols_in_any_order_and_some_of_them() -> None:
    board = Board(WINDOW)
    for symbol in SYMBOLS:
        board.put(symbol, minutes(symbol, -WINDOW, 0))
    append(board, 0, "SOLUSDT", "BTCUSDT")
    some = board.together(("SOLUSDT", "BTCUSDT"), at(1))
    equal(
        some.part(0, WINDOW),
        Columns.stack([minutes(symbol, 1 - WINDOW, 1) for symbol in ("SOLUSDT", "BTCUSDT")]),
    )
    assert board.end("ETHUSDT") == at(0)
    equal(board.columns("ETHUSDT"), minutes("ETHUSDT", -WINDOW, 0))
    append(board, 0, "ETHUSDT")
    assert board.in_order(("SOLUSDT", "ETHUSDT", "BTCUSDT")) == list(SYMBOLS)
    one, other = (board.together(SYMBOLS, at(1)).part(0, WINDOW) for _ in range(2))
    assert np.shares_memory(one.close, other.close)


def test_symbols_out_of_step_are_right_or_gone() -> None:
    """Whatever comes in whatever order: a symbol on the board has its own minutes."""
    rng = random.Random(5)
    board, ends = Board(WINDOW), dict.fromkeys(SYMBOLS, 0)
    gone = 0
    for _ in range(300):
        symbol = rng.choice(SYMBOLS)
        kind = rng.random()
        if kind < 0.05:
            board.drop(symbol)
        elif kind < 0.1:
            ends[symbol] += rng.choice((0, 1, 30, 100, 400))
            board.put(symbol, minutes(symbol, ends[symbol] - WINDOW, ends[symbol]))
        elif board.end(symbol) == at(ends[symbol]):
            append(board, ends[symbol], symbol)
            ends[symbol] += 1
        for each in SYMBOLS:
            if board.end(each) is None:
                gone += 1
            else:
                assert board.end(each) == at(ends[each])
                equal(board.columns(each), minutes(each, ends[each] - WINDOW, ends[each]))
    assert 0 < gone < 750


def test_a_window_that_is_too_short_is_not_taken() -> None:
    board = Board(WINDOW)
    board.put("ETHUSDT", minutes("ETHUSDT", -WINDOW + 1, 0))
    assert board.end("ETHUSDT") is None
    board.put("ETHUSDT", minutes("ETHUSDT", -WINDOW, 0))
    assert board.end("ETHUSDT") == at(0)
    board.clear()
    assert board.end("ETHUSDT") is None


class Minute:
    """Minutes of a market in which the reference comes ``late`` seconds after the others (None: never)."""

    def __init__(self, *, captured: bool = True) -> None:
        self.patience = ReferencePatience(captured=captured)
        self.n = 0

    def waited(self, late: float | None) -> float:
        """How long the others' rows of the next minute wait."""
        start, n = self.n * 60.0, self.n
        self.n += 1
        self.patience.committed(candle("ETHUSDT", n), start)
        if late is not None and late <= 0:
            self.patience.committed(candle(REFERENCE, n), start)
        asked = start
        while (left := self.patience.waits(candle("ETHUSDT", n), asked)) > 0:
            if late is not None and asked - start < late <= asked - start + left:
                self.patience.committed(candle(REFERENCE, n), start + late)
                asked = start + late
            else:
                asked += left
        if late is not None and late > asked - start:
            self.patience.committed(candle(REFERENCE, n), start + late)
        return asked - start


def test_rows_wait_for_the_reference_and_for_nothing_else() -> None:
    market = Minute()
    assert market.waited(0.0) == 0.0
    assert market.waited(0.25) == 0.25
    assert market.waited(0.75) == 0.75
    patience = market.patience
    assert patience.waits(candle(REFERENCE, 9), 0.0) == 0.0, "it waits for nobody"
    assert patience.waits(candle("ETHUSDT", 1), 0.0) == 0.0, "its minute has been"
    assert patience.waits(candle("ETHUSDT", 9), 0.0) == REFERENCE_SECONDS


@pytest.mark.parametrize("late", [None, 3.0])
def test_an_outage_of_the_reference_alone_costs_two_minutes_a_second(late: float | None) -> None:
    market = Minute()
    market.waited(0.0)
    waits = [market.waited(late) for _ in range(20)]
    assert waits == [REFERENCE_SECONDS] * IN_VAIN_MOST + [0.0] * (20 - IN_VAIN_MOST)
    # One punctual minute, which nobody waited for, and the next is waited for again.
    assert market.waited(0.25) == 0.0
    assert market.waited(0.25) == 0.25


def test_minutes_waited_for_in_vain_are_counted_in_a_row() -> None:
    market = Minute()
    for _ in range(5):
        assert market.waited(3.0) == REFERENCE_SECONDS
        assert market.waited(0.25) == 0.25


def test_nobody_waits_where_the_reference_is_not_captured() -> None:
    market = Minute(captured=False)
    assert [market.waited(None) for _ in range(5)] == [0.0] * 5

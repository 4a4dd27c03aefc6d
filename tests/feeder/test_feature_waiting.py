"""What waits for its turn, and for how long, without a database."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.feeder.feature_rows import SYMBOLS, at, candle

from data_feeder.buffer import Item
from data_feeder.computer import TOGETHER_MOST
from data_feeder.patience import REFERENCE_SECONDS, ReferencePatience
from data_feeder.waiting import (
    BOOKS_MOST,
    GATHER_MOST,
    GATHER_SECONDS,
    GATHERED_FROM,
    PENDING_MOST,
    Waiting,
)
from marketdata.features.columns import REFERENCE
from marketdata.models import Candle
from marketdata.store.books import BookMinute

MANY = GATHERED_FROM + 1


def few(*, reference: bool = False) -> Waiting:
    return Waiting(len(SYMBOLS), ReferencePatience(captured=reference))


def many() -> Waiting:
    return Waiting(MANY, ReferencePatience(captured=False))


def item(one: Candle, *, head: bool = True) -> Item:
    return Item(one, one.time, 0.0, head)


def items(symbol: str, *minutes: int, head: bool = True) -> list[Item]:
    return [item(candle(symbol, n), head=head) for n in minutes]


def named(n: int, minute: int = 0) -> Item:
    """A candle of one of a market's symbols."""
    return item(candle("ETHUSDT", minute)._replace(symbol=f"S{n}USDT"))


def book(n: int) -> BookMinute:
    return BookMinute("ETHUSDT", at(n), 1.0, 2.0, 1.5, 3.0, 0.25 + n, 0.5, 7)


def test_of_few_symbols_a_candle_is_due_at_once_in_order() -> None:
    waiting = few()
    assert waiting.empty
    assert waiting.take_due(0.0) == ({}, math.inf)
    waiting.offer(items("ETHUSDT", 1, 0) + items("SOLUSDT", 0), [], True, 7.0)
    assert not waiting.empty
    assert waiting.since == 7.0
    assert [one.symbol for one in waiting.single()] == ["SOLUSDT"]
    due, wait = waiting.take_due(7.0)
    assert due == {
        "ETHUSDT": [candle("ETHUSDT", 0), candle("ETHUSDT", 1)],
        "SOLUSDT": [candle("SOLUSDT", 0)],
    }
    assert wait == math.inf
    assert waiting.empty


def test_candles_that_are_not_news_are_left_to_their_marks() -> None:
    waiting = few()
    waiting.offer(items("ETHUSDT", 0, head=False), [], True, 0.0)
    waiting.offer(items("ETHUSDT", 0, head=False), [], False, 0.0)
    assert waiting.empty
    assert not waiting.take_overflow()


def test_the_reference_is_waited_for_from_the_minute_on_that_lacks_it() -> None:
    waiting = few(reference=True)
    waiting.offer([*items(REFERENCE, 0), *items("ETHUSDT", 0, 1, 2)], [], True, 0.0)
    due, wait = waiting.take_due(0.25)
    assert due == {REFERENCE: [candle(REFERENCE, 0)], "ETHUSDT": [candle("ETHUSDT", 0)]}
    assert wait == REFERENCE_SECONDS - 0.25
    assert not waiting.empty
    # It may come as a late one, which is no news itself.
    waiting.offer(items(REFERENCE, 2, head=False), [], True, 0.5)
    due, wait = waiting.take_due(0.5)
    assert due == {"ETHUSDT": [candle("ETHUSDT", 1), candle("ETHUSDT", 2)]}
    assert waiting.empty


def test_a_market_gathers_until_none_has_come_for_a_while() -> None:
    waiting = many()
    waiting.offer([named(0)], [], True, 0.0)
    assert waiting.take_due(0.0) == ({}, pytest.approx(GATHER_SECONDS))
    waiting.offer([named(1)], [], True, 0.03)
    assert waiting.since == 0.0
    assert waiting.gathering(2, 0.05) == pytest.approx(0.03)
    assert waiting.take_due(0.05) == ({}, pytest.approx(0.03))
    due, _ = waiting.take_due(0.03 + GATHER_SECONDS)
    assert len(due) == 2
    assert waiting.gathering(2, 1.0) == 0.0


def test_a_market_gathers_no_longer_than_that() -> None:
    waiting = many()
    now, n = 0.0, 0
    while not (due := waiting.take_due(now)[0]):
        waiting.offer([named(n)], [], True, now)
        now += GATHER_SECONDS / 2
        n += 1
        assert now < 1.0
    assert len(due) == n
    assert GATHER_MOST < now <= GATHER_MOST + 1.5 * GATHER_SECONDS


def test_a_market_gathers_no_more_than_are_computed_at_once() -> None:
    waiting = many()
    waiting.offer([named(n) for n in range(TOGETHER_MOST - 1)], [], True, 0.0)
    assert waiting.take_due(0.0)[0] == {}
    assert waiting.gathering(TOGETHER_MOST - 1, 0.0) == pytest.approx(GATHER_SECONDS)
    waiting.offer([named(TOGETHER_MOST)], [], True, 0.0)
    assert waiting.gathering(TOGETHER_MOST, 0.0) == 0.0
    assert len(waiting.take_due(0.0)[0]) == TOGETHER_MOST


def test_few_symbols_do_not_gather() -> None:
    assert not Waiting(GATHERED_FROM, ReferencePatience(captured=False)).gathers
    assert many().gathers


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_too_much_or_not_as_stored_is_left_to_the_database(exact: bool) -> None:
    waiting = few()
    one = named(0)
    waiting.offer([one] * (PENDING_MOST if exact else 3), [], True, 0.0)
    assert not waiting.take_overflow()
    waiting.offer([one], [], exact, 0.0)
    assert not waiting.empty, "there is something to be done about them"
    assert waiting.take_due(0.0)[0] == {}
    assert waiting.take_overflow()
    assert not waiting.take_overflow()
    assert waiting.empty


def test_books_of_later_minutes_wait_for_their_candles() -> None:
    waiting = few()
    waiting.offer([], [book(n) for n in range(4)], True, 0.0)
    assert waiting.empty, "a book is no candle"
    assert waiting.take_book("ETHUSDT", at(1)) == (1.25, 0.5)
    assert np.isnan(waiting.take_book("ETHUSDT", at(0))).all(), "gone with the minute after it"
    assert waiting.take_books("ETHUSDT", at(3)) == [book(2)]
    assert np.isnan(waiting.take_book("SOLUSDT", at(3))).all()
    assert waiting.take_book("ETHUSDT", at(3)) == (3.25, 0.5)


def test_a_symbol_whose_candles_do_not_come_does_not_keep_its_books() -> None:
    waiting = few()
    waiting.offer([], [book(n) for n in range(BOOKS_MOST)], True, 0.0)
    assert waiting.take_overtaken() == set()
    waiting.offer([], [book(BOOKS_MOST)], True, 0.0)
    assert waiting.take_overtaken() == {"ETHUSDT"}
    assert waiting.take_overtaken() == set()
    assert waiting.take_books("ETHUSDT", at(BOOKS_MOST + 1)) == []

"""One row a minute from quotes, sampled once a second."""

import pytest

from data_feeder.book import BookRecorder, imbalance, spread_bps
from marketdata.models import MINUTE_MS, Quote

T0 = 1679616000000


def quote(bid: float, ask: float, bid_size: float = 1.0, ask_size: float = 1.0, symbol: str = "B") -> Quote:
    return Quote(symbol, bid, bid_size, ask, ask_size, 1)


def test_spread_and_imbalance() -> None:
    assert spread_bps(quote(99.0, 101.0)) == pytest.approx(200.0)
    assert imbalance(quote(1, 2, 3.0, 1.0)) == 0.5
    assert imbalance(quote(1, 2, 0.0, 0.0)) == 0.0


def test_means_are_over_samples_not_updates() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    book.sample()
    for _ in range(100):  # a burst between two samples counts once
        book.update(quote(100.0, 100.0))
    book.sample()
    (row,) = book.advance(T0 + MINUTE_MS)
    assert row.time == T0
    assert row.spread_bps == pytest.approx(100.0)
    assert row.updates == 101
    assert (row.bid, row.ask) == (100.0, 100.0)


def test_a_minute_without_a_sample_takes_its_last_quote() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    (row,) = book.advance(T0 + MINUTE_MS)
    assert row.spread_bps == pytest.approx(200.0)


def test_a_minute_without_updates_has_no_row() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    book.advance(T0 + MINUTE_MS)
    book.sample()
    assert book.advance(T0 + 2 * MINUTE_MS) == []


def test_quotes_before_the_market_was_heard_belong_to_no_minute() -> None:
    book = BookRecorder()
    book.update(quote(99.0, 101.0))
    assert book.advance(T0) == []


def test_time_within_the_minute_or_backwards_changes_nothing() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    assert book.advance(T0 + 59_999) == []
    assert book.advance(T0 - MINUTE_MS) == []
    assert len(book.advance(T0 + MINUTE_MS)) == 1


def test_a_candle_that_closes_early_closes_its_book_minute() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    book.update(quote(99.0, 101.0, symbol="C"))
    (row,) = book.close("B", T0)
    assert (row.symbol, row.time, row.updates) == ("B", T0, 1)
    assert book.close("B", T0) == []
    book.update(quote(100.0, 100.0))
    (other,) = book.advance(T0 + MINUTE_MS)
    assert other.symbol == "C"
    (following,) = book.advance(T0 + 2 * MINUTE_MS)
    assert (following.symbol, following.time, following.updates) == ("B", T0 + MINUTE_MS, 1)


def test_a_standing_market_clock_does_not_weigh_the_last_quote_down() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    for _ in range(59):
        book.sample()
    book.update(quote(100.0, 100.0))
    for _ in range(1800):  # the socket is dead, the seconds go on
        book.sample()
    (row,) = book.advance(T0 + MINUTE_MS)
    assert row.spread_bps == pytest.approx(200.0 * 59 / 60)


def test_a_forgotten_quote_says_nothing_of_the_next_minute() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(99.0, 101.0))
    book.forget(["B", "NEVER"])
    book.sample()
    assert [row.updates for row in book.advance(T0 + MINUTE_MS)] == [1], "what was seen of the minute counts"
    for _ in range(10):
        book.sample()
    book.update(quote(100.0, 100.0))
    (row,) = book.advance(T0 + 2 * MINUTE_MS)
    assert row.spread_bps == 0.0


def test_an_impossible_quote_is_not_counted() -> None:
    book = BookRecorder()
    book.advance(T0)
    book.update(quote(101.0, 99.0))
    book.update(quote(0.0, 99.0))
    assert book.advance(T0 + MINUTE_MS) == []

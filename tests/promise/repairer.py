"""A worker of the gap-handler without I/O: ``Backfill.run`` over the real plan and the real judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.promise.ledger import Entry
from tests.promise.market import LISTED, T0, Kind, Market, minute_of, ms
from tests.promise.store import Store

from gap_handler import plan
from gap_handler.outages import Finding, after_refused, judge
from gap_handler.plan import Run
from marketdata.binance.rest import RestCandle
from marketdata.candles import candle_problem
from marketdata.minutes import ceil_minute
from marketdata.models import MINUTE_MS, Source
from marketdata.store.candles import Row

PAGE: Final = 3
CLAIM: Final = 7
CONFIRM_MS: Final = 5 * MINUTE_MS


class ExchangeFailsError(Exception):
    """REST does not answer."""


@dataclass
class Rest:
    """How REST behaves: fails at the next request, leaves a row out of the next page, answers late."""

    market: Market
    fails: bool = False
    lacks: int | None = None
    behind: int = 0

    def klines(
        self, symbol: str, start: int, end: int | None = None, *, limit: int = PAGE
    ) -> list[RestCandle]:
        self._answer()
        rows = self.market.klines(symbol, start, end, limit, behind=self.behind)
        if self.lacks is not None and limit > 1 and rows:
            del rows[self.lacks % len(rows)]
            self.lacks = None
        return rows

    def server_time(self) -> int:
        self._answer()
        return self.market.now - self.behind

    def _answer(self) -> None:
        if self.fails:
            self.fails = False
            raise ExchangeFailsError


class Looks:
    """What the exchange had to show at the first look at a minute and at the second."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._first: dict[tuple[str, int], bool] = {}
        self.wrongly_confirmed: set[tuple[str, int]] = set()

    def usable(self, symbol: str, minutes: range) -> set[int]:
        """The minutes of which the exchange shows a row that can be a candle."""
        return {
            minute
            for minute in minutes
            if self._market.final(symbol, minute) is not None and (symbol, minute) not in self._market.hidden
        }

    def first(self, symbol: str, minutes: range) -> None:
        """An outage is noted: there must be rows on both sides, of minutes that are over."""
        usable = self.usable(symbol, minutes)
        later = range(minutes.stop, minute_of(self._market.now))
        assert LISTED[symbol] < minutes.start, f"{symbol}: no row before {minutes}"
        assert any(self._shown(symbol, minute) for minute in later), f"{symbol}: no row after {minutes}"
        assert not usable, f"{symbol}: called an outage of {minutes}, but there are {usable}"
        self._first |= {(symbol, minute): minute in usable for minute in minutes}

    def _shown(self, symbol: str, minute: int) -> bool:
        return (
            self._market.kind(symbol, minute) is not Kind.HALT and (symbol, minute) not in self._market.hidden
        )

    def second(self, symbol: str, confirmed: set[int], usable: set[int]) -> None:
        """The outage is confirmed; ``usable`` is what there was to see at this look."""
        self.wrongly_confirmed |= {
            (symbol, minute)
            for minute in confirmed
            if minute in usable and self._first.get((symbol, minute), True)
        }


def work_over(work: Entry, market: Market, store: Store, rest: Rest, looks: Looks) -> Iterator[None]:
    """``Backfill.run`` and what it calls, with a pause before each thing others may come between.

    Raises ``LeaseLostError`` at the first change it may not make any more.
    """
    symbol, start, end, is_outage = work.symbol, ms(work.start), ms(work.end), work.kind == "outage"
    owner = work.owner
    assert owner is not None
    store.reach()
    now = max(T0 + store.ledger.now, rest.server_time())
    store.advance(now)
    first_kline = _first_kline(symbol, store, rest)
    refused: set[int] = set()
    shown: set[int] = set()
    for _ in range(20):
        written = 0
        missing = _missing(store, symbol, start, end, is_outage)
        cursor = plan.next_missing(missing, start)
        while cursor is not None:
            yield
            within = Run(cursor, missing[-1].end)
            rows = rest.klines(symbol, within.start, within.end)
            yield
            final = plan.usable(rows, within, now)
            written += _write(store, work.id, owner, symbol, final, now)
            refused |= plan.refused_minutes(final)
            following = plan.after(rows, cursor)
            cursor = None if following is None else plan.next_missing(missing, following)
            if rows and rows[-1].candle.time >= within.start:
                behind = plan.next_missing(missing, rows[-1].candle.time + MINUTE_MS)
                assert cursor == behind, f"{symbol}: paging goes on at {cursor}, not at {behind}"
        reasons: list[Finding] = []
        again = False
        for run in _missing(store, symbol, start, end, is_outage):
            yield
            first = rest.klines(symbol, run.start, limit=1)
            while first and (at := after_refused(first[0], run, frozenset(refused))) is not None:
                first = rest.klines(symbol, at, limit=1)
            finding = judge(run, first, first_kline=first_kline, refused=frozenset(refused), now_ms=now)
            if finding is Finding.ROWS:
                again = True
            elif finding is not Finding.OUTAGE:
                reasons.append(finding)
            elif is_outage:
                shown |= looks.usable(symbol, range(minute_of(run.start), minute_of(run.end)))
            else:
                store.reach()
                store.ledger.renew(work.id, owner)
                span = range(minute_of(run.start), minute_of(run.end))
                looks.first(symbol, span)
                store.ledger.record_outage(symbol, span.start, span.stop, confirm_ms=CONFIRM_MS)
        if not again or not written:
            break
    else:
        again = True
    yield
    store.reach()
    if not is_outage:
        store.ledger.settle_gap(work.id, owner)
    elif reasons or again:
        store.ledger.release(work.id, owner, held=True)
    else:
        confirmed = store.ledger.missing(symbol, work.start, work.end)
        store.ledger.settle_outage(work.id, owner)
        looks.second(symbol, confirmed, shown)


def _missing(store: Store, symbol: str, start: int, end: int, is_outage: bool) -> list[Run]:
    return [Run(*span) for span in store.missing(symbol, start, end, is_outage=is_outage)]


def _first_kline(symbol: str, store: Store, rest: Rest) -> int | None:
    """``Listings.first_kline``."""
    known = store.ledger.first_kline[symbol]
    if known is None:
        rows = rest.klines(symbol, 0, limit=1)
        if not rows:
            return None
        known = minute_of(ceil_minute(rows[0].candle.time))
        store.ledger.first_kline[symbol] = known
    return ms(known)


def _write(store: Store, work_id: int, owner: str, symbol: str, rows: list[RestCandle], now: int) -> int:
    """``Backfill._write``: what is known to be impossible is not noted again, and a page that comes
    after its lease was lost is undone.
    """
    if not rows:
        return 0
    store.reach()
    store.ledger.renew(work_id, owner)
    wanted = [
        row
        for row in rows
        if (symbol, minute_of(row.candle.time)) not in store.invalid or candle_problem(row.candle) is None
    ]
    return store.write([Row(row.candle, now) for row in wanted], source=Source.REST)

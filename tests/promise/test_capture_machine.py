"""Every minute is accounted for, and nothing is invented, whatever the exchange, the network, the database
and the processes do: the pure core of capture and repair, driven through faults of every kind.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.promise.feeder import Feeder
from tests.promise.ledger import Entry
from tests.promise.market import LISTED, SYMBOLS, Kind, Market, minute_of, ms
from tests.promise.profile import machine_settings
from tests.promise.repairer import CLAIM, CONFIRM_MS, ExchangeFailsError, Looks, Rest, work_over
from tests.promise.store import DatabaseAwayError, Store

from data_feeder.ingest import AGREEING, AHEAD_MS, LATEST_PUSH_MS
from data_feeder.sequence import LATE_AFTER_MS
from marketdata.errors import LeaseLostError
from marketdata.models import MINUTE_MS

WORKERS = 2

symbols = st.sampled_from(SYMBOLS)
kinds = st.sampled_from([Kind.TRADED] * 4 + list(Kind))
minutes_kinds = st.tuples(*[kinds] * len(SYMBOLS))
heard = st.tuples(*[st.sampled_from([True, True, True, False])] * len(SYMBOLS))

GARBAGE = [
    b"", b"\xff", b"{", b"null", b"[]", b"7", b'"kline"', b"{}", b'{"data":null}', b'{"e":"kline"}',
    b'{"e":"kline","E":1,"k":null}', b'{"e":"kline","E":1,"k":[]}', b'{"result":null,"id":1}',
    b'{"code":2,"msg":"x"}', b'{"e":"serverShutdown","E":1}', b'{"e":"trade"}', b'{"u":1,"b":"x"}',
    b'{"u":1,"s":"AUSDT","b":"1","B":"1","a":"2","A":"1"}',
]  # fmt: skip


def absurd(frame: dict[str, Any], how: str) -> dict[str, Any]:
    """The frame with a time that cannot be, or a number that is none."""
    k = frame["k"]
    match how:
        case "off the minute":
            k["t"] += 1
        case "years ahead":
            k["t"] += 600_000 * MINUTE_MS
            frame["E"] += 600_000 * MINUTE_MS
        case "two days ahead":
            k["t"] += 2_880 * MINUTE_MS
            frame["E"] += 2_880 * MINUTE_MS
        case "pushed long after":
            frame["E"] = k["t"] + LATEST_PUSH_MS + 1
        case "pushed before it began":
            frame["E"] = k["t"] - 1
        case "the beginning of time":
            k["t"], frame["E"] = 0, 1
        case "negative":
            k["t"] = -MINUTE_MS
        case "no number":
            k["c"] = "nan"
        case "endless":
            k["h"] = "inf"
        case "another interval":
            k["i"] = "5m"
        case "another symbol":
            k["s"] = "ZUSDT"
    return frame


AHEAD = ["years ahead", "two days ahead"]
HOW = [
    *AHEAD, "off the minute", "pushed long after", "pushed before it began", "the beginning of time",
    "negative", "another interval", "another symbol",
]  # fmt: skip
NUMBERS = ["no number", "endless"]
BROKEN = [
    "the feeder",
    "the feeder",
    "the database",
    "a worker",
    "a request",
    "an answer",
    "an answer",
    "a host",
]


A_MINUTE: dict[str, Any] = dict(
    kinds=minutes_kinds,
    heard=heard,
    late=st.sampled_from([20, 20, 20, 700, 4_000]),
    seconds=st.sampled_from([0, 2, LATE_AFTER_MS // 1000, 30]),
    heard_then=heard,
    heard_late=st.tuples(*[st.booleans()] * len(SYMBOLS)),
    written=st.sampled_from([True, True, False]),
)


class CaptureMachine(RuleBasedStateMachine):
    """One feeder that lives and dies, workers that live and die, and what is between them and the market."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market()
        self.store = Store(self.market)
        self.store.advance(self.market.now)
        self.rest = Rest(self.market)
        self.looks = Looks(self.market)
        self.sent: list[dict[str, Any]] = []
        self.workers: list[tuple[Entry, Iterator[None]] | None] = [None] * WORKERS
        self.feeder: Feeder | None = Feeder(self.market, self.store, exchange_answers=True)
        self.writing = False
        self.claims = count(1)
        self.lies: list[tuple[str, dict[str, Any]]] = []
        """Claims of one time far ahead, since the last frame that made a feeder forget them."""

    @initialize(known=st.booleans(), hidden=st.booleans())
    def this_is_not_the_first_start(self, known: bool, hidden: bool) -> None:
        if known:
            self.store.ledger.first_kline["CUSDT"] = LISTED["CUSDT"]
            if hidden:
                self.market.hidden.add(("CUSDT", LISTED["CUSDT"]))

    # The market and its stream.

    def _hear(self, frame: dict[str, Any], *, true: bool = True) -> None:
        if self.feeder is not None:
            if true and frame["E"] <= self.feeder.market.now_ms + AHEAD_MS:
                self.lies.clear()
            self.feeder.hear(json.dumps(frame).encode())

    def _push(self, symbol: str, minute: int, pushed: int, *, final: bool, heard: bool) -> None:
        frame = self.market.frame(symbol, minute, pushed, final=final)
        if frame is not None:
            self.sent.append(frame)
            if heard:
                self._hear(copy.deepcopy(frame))

    def _next_minute(self, kinds: tuple[Kind, ...], heard: tuple[bool, ...], late: int = 20) -> None:
        ended = minute_of(self.market.now)
        for symbol, kind in zip(SYMBOLS, kinds, strict=True):
            # A record begins with a candle, and a listing is not learned of before it.
            if ended + 1 > LISTED[symbol]:
                self.market.kinds[symbol, ended + 1] = kind
        self.market.now = ms(ended + 1) + late
        for symbol, hear in zip(SYMBOLS, heard, strict=True):
            early = self.market.kind(symbol, ended) is Kind.EARLY
            pushed = self.market.final_at(symbol, ended) + 10 if early else self.market.now
            self._push(symbol, ended, pushed, final=True, heard=hear)

    def _minute(
        self,
        kinds: tuple[Kind, ...],
        heard: tuple[bool, ...],
        late: int,
        seconds: int,
        heard_then: tuple[bool, ...],
        heard_late: tuple[bool, ...],
        written: bool,
    ) -> None:
        """A minute ends, and the next one goes on for some seconds; then what was lost may still come."""
        self._next_minute(kinds, heard, late)
        finals = [frame for frame in self.sent[-len(SYMBOLS) :] if frame["k"]["x"]]
        self.market.now += seconds * 1000
        minute = minute_of(self.market.now)
        for symbol, hear in zip(SYMBOLS, heard_then, strict=True):
            if seconds and self.market.now < self.market.final_at(symbol, minute):
                self._push(symbol, minute, self.market.now, final=False, heard=hear)
        for frame, hear in zip(finals, heard_late, strict=False):
            if hear:
                self._hear(copy.deepcopy(frame))
        if written and self.feeder is not None and not self.writing:
            self._write(5, 3, waits=False)

    # Time has to pass for anything to happen: three rules of it among the others.
    a_minute_ends = rule(**A_MINUTE)(_minute)
    another_minute_ends = rule(**A_MINUTE)(_minute)
    one_more_minute_ends = rule(**A_MINUTE)(_minute)

    @rule(
        symbol=symbols,
        kinds=minutes_kinds,
        hidden=st.sampled_from([False, False, True]),
        short=st.booleans(),
        lacks=st.sampled_from([None, None, 0, 1]),
        behind=st.sampled_from([0, 100, 700, 1_000]),
        seconds=st.sampled_from([0, 0, 1, 2]),
    )
    def a_minute_is_lost_and_repaired_at_once(
        self,
        symbol: str,
        kinds: tuple[Kind, ...],
        hidden: bool,
        short: bool,
        lacks: int | None,
        behind: int,
        seconds: int,
    ) -> None:
        """While its row may not be there yet, or not be final at the host that answers."""
        heard = tuple(other != symbol for other in SYMBOLS)
        lost = minute_of(self.market.now)
        if hidden and lost > LISTED[symbol]:
            self.market.hidden.add((symbol, lost))
        if short and self.market.kind(symbol, lost) is Kind.TRADED:
            self.market.kinds[symbol, lost] = Kind.SHORT
        self._minute(kinds, heard, 20, seconds, (False,) * len(SYMBOLS), (False,) * len(SYMBOLS), True)
        if self.feeder is not None and not self.writing:
            self.feeder.silence(symbol)
            self._write(5, 3, waits=False)
            self.rest.lacks, self.rest.behind = lacks, behind
            self.a_worker_works(0, 100)
            self.rest.behind = 0

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(0, 12))
    def an_earlier_frame_comes(self, back: int) -> None:
        """Delayed, repeated, out of order, or a snapshot after a reconnect."""
        self._hear(copy.deepcopy(self.sent[-1 - back % len(self.sent)]))

    @precondition(lambda self: self.sent)
    @rule(back=st.integers(0, 5), what=st.sampled_from((HOW + NUMBERS) * 5 + GARBAGE))
    def what_cannot_be_comes(self, back: int, what: str | bytes) -> None:
        if isinstance(what, str):
            self._hear_absurd(back, what)
        elif self.feeder is not None:
            self.feeder.hear(what)

    @precondition(lambda self: self.sent)
    @rule(what=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([*AHEAD, AHEAD[0], ""])), min_size=3))
    def somebody_lies(self, what: list[tuple[int, str]]) -> None:
        """And repeats it, contradicts it, and is contradicted, but is never of one mind three times."""
        for back, how in what[:6]:
            if how:
                self._hear_absurd(back, how)
            else:
                self.an_earlier_frame_comes(back)

    def _hear_absurd(self, back: int, how: str) -> None:
        frame = absurd(copy.deepcopy(self.sent[-1 - back % len(self.sent)]), how)
        if how in AHEAD:
            if self.lies and self.lies[0][0] != how:
                self.lies.clear()
            if (how, frame) not in self.lies:
                if len(self.lies) == AGREEING - 1:
                    return  # as many as agree are the market's word, whatever they say
                self.lies.append((how, copy.deepcopy(frame)))
        self._hear(frame, true=False)

    @rule(symbol=symbols, back=st.integers(0, 8), hidden=st.booleans())
    def a_row_is_hidden_or_shown(self, symbol: str, back: int, hidden: bool) -> None:
        minute = minute_of(self.market.now) - back
        # The first row of all tells when the listing began: it is shown until that is known.
        known = self.store.ledger.first_kline[symbol] is not None
        if minute > LISTED[symbol] or (known and minute == LISTED[symbol]):
            (self.market.hidden.add if hidden else self.market.hidden.discard)((symbol, minute))

    # The feeder and its database.

    @precondition(lambda self: self.feeder is not None)
    @rule(symbol=symbols)
    def a_stream_is_silent(self, symbol: str) -> None:
        assert self.feeder is not None
        self.feeder.silence(symbol)

    @precondition(lambda self: self.feeder is not None)
    @rule(guess=st.booleans())
    def the_watchdog_looks(self, guess: bool) -> None:
        assert self.feeder is not None
        self.feeder.look(guess=guess)

    @rule(what=st.sampled_from(BROKEN), which=st.integers(0, 2))
    def something_breaks(self, what: str, which: int) -> None:
        match what:
            case "the feeder":
                self.feeder, self.writing = None, False
            case "the database":
                self.store.away = True
            case "a worker":
                self.workers[which % WORKERS] = None
            case "a request":
                self.rest.fails = True
            case "an answer":
                self.rest.lacks = which
            case "a host":
                self.rest.behind = (100, 700, 1_000)[which]

    @rule()
    def everything_is_well(self) -> None:
        self.store.away = False
        self.rest = Rest(self.market)
        self._start(exchange_answers=True, audited=True)

    @rule(exchange_answers=st.booleans(), audited=st.booleans())
    def the_feeder_starts(self, exchange_answers: bool, audited: bool) -> None:
        self._start(exchange_answers=exchange_answers, audited=audited)

    @precondition(lambda self: not self.store.away)
    @rule(kinds=minutes_kinds, audited=st.booleans())
    def the_feeder_starts_by_an_old_clock(self, kinds: tuple[Kind, ...], audited: bool) -> None:
        """It was away for longer than a frame may be ahead, and the exchange did not tell the time."""
        self.feeder, self.writing = None, False
        for _ in range(1 + AHEAD_MS // MINUTE_MS):
            self._next_minute(kinds, (False,) * len(SYMBOLS))
        self._start(exchange_answers=False, audited=audited)

    def _start(self, *, exchange_answers: bool, audited: bool) -> None:
        if self.feeder is not None or self.store.away:
            return
        self.feeder = Feeder(self.market, self.store, exchange_answers=exchange_answers)
        if audited:
            self.feeder.audit()

    @precondition(lambda self: self.feeder is not None and not self.writing)
    @rule(
        most=st.sampled_from([1, 2, 5, 5]),
        steps=st.sampled_from([0, 1, 2, 3, 3, 3]),
        waits=st.sampled_from([True, True, False]),
    )
    def the_writer_writes(self, most: int, steps: int, waits: bool) -> None:
        self._write(most, steps, waits=waits)

    def _write(self, most: int, steps: int, *, waits: bool) -> None:
        assert self.feeder is not None
        try:
            self.feeder.begin_batch(most)
            self.writing = waits
            if not waits:
                self.feeder.end_batch(steps)
        except DatabaseAwayError:
            pass

    @precondition(lambda self: self.feeder is not None and not self.writing)
    @rule(most=st.integers(1, 5), minutes=st.integers(1, 2), steps=st.sampled_from([2, 3, 3]))
    def the_stream_overtakes_the_writer(self, most: int, minutes: int, steps: int) -> None:
        """A batch is on its way while the buffer fills, and gives some of it up."""
        everyone, nobody = (True,) * len(SYMBOLS), (False,) * len(SYMBOLS)
        for _ in range(2):
            self._minute((Kind.TRADED,) * len(SYMBOLS), everyone, 20, 0, nobody, nobody, False)
        self._write(most, 3, waits=True)
        for _ in range(minutes):
            self._minute((Kind.TRADED,) * len(SYMBOLS), everyone, 20, 0, nobody, nobody, False)
        if self.writing:
            self.the_writer_ends(steps)

    @precondition(lambda self: self.writing)
    @rule(steps=st.sampled_from([0, 1, 2, 3, 3, 3]))
    def the_writer_ends(self, steps: int) -> None:
        assert self.feeder is not None
        self.writing = False
        with contextlib.suppress(DatabaseAwayError):
            self.feeder.end_batch(steps)

    @precondition(lambda self: self.feeder is not None)
    @rule()
    def an_audit(self) -> None:
        assert self.feeder is not None
        with contextlib.suppress(DatabaseAwayError):
            self.feeder.audit()

    # Requests and repairs.

    @rule(symbol=symbols, back=st.integers(1, 12), length=st.integers(1, 12))
    def somebody_asks(self, symbol: str, back: int, length: int) -> None:
        end = min(minute_of(self.market.now) - back + length, self.store.ledger.now // MINUTE_MS)
        start = max(0, minute_of(self.market.now) - back)
        if start < end and not self.store.away:
            self.store.record_missing(symbol, ms(start), ms(end), reopen=True)

    def _work(self, which: int, steps: int) -> None:
        work = self.workers[which]
        if work is None:
            return
        entry, running = work
        try:
            for _ in range(steps):
                next(running)
        except StopIteration:
            self.workers[which] = None
        except LeaseLostError:
            # Another has it, or it was joined into something else: nothing is left to give back.
            self.workers[which] = None
        except (DatabaseAwayError, ExchangeFailsError):
            self.workers[which] = None
            if not self.store.away:
                assert entry.owner is not None
                self.store.ledger.release(entry.id, entry.owner, held=True)

    @rule(which=st.integers(0, WORKERS - 1), steps=st.sampled_from([1, 2, 4, 100, 100]))
    def a_worker_works(self, which: int, steps: int) -> None:
        if self.workers[which] is None and not self.store.away:
            claimable = self.store.ledger.claimable()
            if claimable:
                entry = self.store.ledger.claim(claimable[0], CLAIM, f"claim {next(self.claims)}")
                copied = copy.copy(entry)
                running = work_over(copied, self.market, self.store, self.rest, self.looks)
                self.workers[which] = copied, running
        self._work(which, steps)

    @rule()
    def leases_and_pauses_end(self) -> None:
        """Also of work that is still being done: it took longer than its lease."""
        for entry in self.store.ledger.entries:
            entry.held = False

    # What must hold at any time.

    @invariant()
    def every_minute_is_accounted_for(self) -> None:
        if self.feeder is None:
            return
        held = self.feeder.in_memory()
        for symbol in SYMBOLS:
            start = minute_of(self.feeder.start) + 1
            # Before the start's audit, what was before the start is not yet claimed to be known.
            known = range(
                0 if self.feeder.audited else start, minute_of(self.feeder.ingest.sequences[symbol].head) + 1
            )
            lost = set(known) - self.store.covered(symbol)
            lost -= {m for s, m in held | self.feeder.forgotten if s == symbol}
            assert not lost, f"{symbol}: nobody accounts for {sorted(lost)}"

    @invariant()
    def heads_are_minutes_that_are_over(self) -> None:
        for sequence in self.feeder.ingest.sequences.values() if self.feeder else ():
            assert sequence.head % MINUTE_MS == 0
            assert self.market.now >= self.market.final_at(sequence.symbol, minute_of(sequence.head))

    @invariant()
    def nothing_is_invented(self) -> None:
        for (symbol, minute), (candle, _) in self.store.candles.items():
            assert candle == self.market.final(symbol, minute)

    @invariant()
    def the_ledger_is_in_order(self) -> None:
        assert self.store.ledger.overlaps() == []
        assert self.looks.wrongly_confirmed == set()

    # In the end everything works again.

    def _repair_all(self) -> None:
        for _ in range(200):
            self.leases_and_pauses_end()
            self.rest = Rest(self.market)
            claimable = self.store.ledger.claimable()
            if not claimable:
                return
            for which in range(WORKERS):
                self.a_worker_works(which, 1000)
        raise AssertionError(
            f"repairs do not end: {[e for e in self.store.ledger.entries if not e.resolved]}"
        )

    def _catch_up(self, kinds: tuple[Kind, ...]) -> None:
        """However far behind a feeder's clock is, frames that agree are believed."""
        for _ in range(1 + AGREEING):
            self._next_minute(kinds, (True,) * len(SYMBOLS))
        ended = minute_of(self.market.now) - 1
        for symbol, sequence in self.feeder.ingest.sequences.items() if self.feeder else ():
            assert ended < LISTED[symbol] or minute_of(sequence.head) == ended, f"{symbol} is not heard"
        self.every_minute_is_accounted_for()

    def teardown(self) -> None:
        self.store.away = False
        self.market.hidden.clear()
        self.workers = [None] * WORKERS
        good = (Kind.TRADED,) * len(SYMBOLS)
        self._catch_up(good)
        for _ in range(3 + CONFIRM_MS // MINUTE_MS):
            self._next_minute(good, (False,) * len(SYMBOLS))
        self.market.now += 2_000
        self.feeder = Feeder(self.market, self.store, exchange_answers=True)
        self.feeder.audit()
        self.every_minute_is_accounted_for()
        self._repair_all()
        for _ in range(1 + CONFIRM_MS // MINUTE_MS):
            self._next_minute(good, (False,) * len(SYMBOLS))
        self.market.now += 2_000
        self.feeder = Feeder(self.market, self.store, exchange_answers=True)
        self.feeder.audit()
        self._repair_all()
        end = minute_of(self.market.now)
        self._compare(end, {m for m in range(end)}, "outage")
        # A row that both looks did not show is an outage until somebody asks.
        for symbol in SYMBOLS:
            self.store.record_missing(symbol, ms(0), ms(end), reopen=True)
        self._repair_all()
        self._compare(end, set(), "")

    def _compare(self, end: int, pardoned: set[int], status: str) -> None:
        """The store equals the exchange's record, but for ``pardoned`` minutes that are ``status``."""
        open_gaps = [e for e in self.store.ledger.entries if not e.resolved]
        assert not open_gaps, f"still open: {open_gaps}"
        for symbol in SYMBOLS:
            first = max(0, LISTED[symbol])
            coverage = self.store.ledger.coverage(symbol, 0, end)
            assert list(coverage) == list(range(first, end)), f"{symbol}: {coverage}"
            for minute in range(first, end):
                true, stored = self.market.final(symbol, minute), self.store.candles.get((symbol, minute))
                if stored is None and true is not None and minute in pardoned and coverage[minute] == status:
                    continue
                assert (stored[0] if stored else None) == true, f"{symbol} {minute}"
                assert coverage[minute] != "missing", f"{symbol} {minute} is missing"


@pytest.mark.promise
@pytest.mark.timeout(0)
def test_every_minute_is_accounted_for_and_none_is_invented() -> None:
    run_state_machine_as_test(CaptureMachine, settings=machine_settings(examples=300, steps=50))

"""The ledger's SQL and the small model say the same after every step, whatever the steps are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
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
from tests.promise.days import Utc
from tests.promise.ledger import Entry, Ledger, runs
from tests.promise.profile import machine_settings

from marketdata import database as db
from marketdata.database import Connection
from marketdata.errors import LeaseLostError
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, ledger

T0 = 1_680_479_880_000
"""2023-04-02T23:58:00Z: days are counted one by one, so the minutes lie on both sides of a midnight."""
DAYS = Utc(T0)
LENGTH = 14
OLD = -4_400
"""Days earlier, and in another month: large gaps are cut by both."""
SYMBOLS = ("AUSDT", "BUSDT")

symbols = st.sampled_from(SYMBOLS)
# Short ranges at few places, so that they touch and overlap.
spans = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 6)).map(
    lambda s: (s[0], min(LENGTH, s[0] + s[1]))
)
long_spans = st.tuples(st.sampled_from([OLD, -3_100]), st.sampled_from([-2_900, -2_878, -1_438, 2, LENGTH]))
"""The first of the month is minute -2878; the newest midnights are -1438 and 2."""


def ms(minute: int) -> int:
    return T0 + minute * MINUTE_MS


def minute_of(time: int) -> int:
    return (time - T0) // MINUTE_MS


class Sql:
    """The real functions, called as the services call them. The one place that knows how."""

    def __init__(self, connection: Connection, runner: asyncio.Runner) -> None:
        self._connection = connection
        self._runner = runner

    def _run(self, call: Any) -> Any:
        return self._runner.run(call)

    def _execute(self, query: str, *arguments: Any) -> None:
        self._run(self._connection.execute(query, *arguments))

    def reset(self, now: int) -> None:
        self._execute("TRUNCATE data_quality_logs, candles_1m, symbols, stale_features, market_clock")
        self._execute("INSERT INTO market_clock (time) VALUES ($1)", now)
        for symbol in SYMBOLS:
            self._execute(
                "INSERT INTO symbols (symbol, status, history_start) VALUES ($1, 'TRADING', $2)",
                symbol,
                ms(OLD),
            )

    def set_first_kline(self, symbol: str, minute: int) -> None:
        self._execute("UPDATE symbols SET first_kline = $2 WHERE symbol = $1", symbol, ms(minute))

    def set_expected_until(self, symbol: str, minute: int) -> None:
        self._execute("UPDATE symbols SET expected_until = $2 WHERE symbol = $1", symbol, ms(minute))

    def end_leases(self) -> None:
        self._execute(
            "UPDATE data_quality_logs SET lease_until = now() - interval '1 second' WHERE NOT resolved"
        )

    def advance(self, now: int) -> None:
        self._execute("SELECT advance_market_clock($1)", now)

    def store(self, symbol: str, span: tuple[int, int], source: Source, trades: int) -> None:
        rows = [
            candles.Row(Candle(symbol, ms(n), 1, 1, 1, 1, trades, trades, trades, 0, 0), 1)
            for n in range(*span)
        ]
        self._run(candles.write(self._connection, rows, source=source))

    def record_missing(self, symbol: str, span: tuple[int, int], reopen: bool) -> list[tuple[int, int]]:
        gaps = self._run(
            ledger.record_missing(self._connection, symbol, ms(span[0]), ms(span[1]), "x", reopen=reopen)
        )
        return [(minute_of(gap.start), minute_of(gap.end)) for gap in gaps]

    def claim(self, most: int, owner: str) -> ledger.Work | None:
        work: ledger.Work | None = self._run(
            ledger.claim(self._connection, lease_seconds=3600, max_minutes=most, owner=owner)
        )
        return work

    def renew(self, work: ledger.Work, owner: str, recovered: int) -> None:
        self._run(
            ledger.renew(self._connection, work.gap.id, lease_seconds=3600, recovered=recovered, owner=owner)
        )

    def release(self, work: ledger.Work, owner: str, held: bool) -> None:
        retry = 3600 if held else -1
        self._run(
            ledger.release(self._connection, work.gap.id, retry_seconds=retry, reason="a reason", owner=owner)
        )

    def settle_gap(self, work: ledger.Work, owner: str, recovered: int) -> bool:
        closed: bool = self._run(
            ledger.settle_gap(
                self._connection,
                work.gap.id,
                recovered=recovered,
                retry_seconds=3600,
                reason="r",
                owner=owner,
            )
        )
        return closed

    def settle_outage(self, work: ledger.Work, owner: str) -> None:
        self._run(ledger.settle_outage(self._connection, work.gap.id, owner=owner))

    def record_outage(self, symbol: str, span: tuple[int, int], confirm_seconds: int) -> None:
        self._run(
            ledger.record_outage(
                self._connection, symbol, ms(span[0]), ms(span[1]), confirm_seconds=confirm_seconds
            )
        )

    def rows(self) -> list[tuple[Any, ...]]:
        records = self._run(
            self._connection.fetch(
                "SELECT symbol, event_type, gap_start, gap_end, resolved, attempts,"
                " coalesce(lease_until > now(), false) AS held, coalesce(lease_owner, '') AS owner,"
                " candles_recovered FROM data_quality_logs"
                " WHERE event_type IN ('gap', 'outage')"
            )
        )
        return sorted(
            (r["symbol"], r["event_type"], minute_of(r["gap_start"]), minute_of(r["gap_end"]), *tuple(r)[4:])
            for r in records
        )

    def minutes_missing_by_the_books(self) -> int:
        """Where the open gaps' own count differs from their length, by how much."""
        return int(
            self._run(
                self._connection.fetchval(
                    "SELECT coalesce(sum(abs(candles_missing - minutes_of(tstzrange(gap_start, gap_end)))),"
                    " 0) FROM data_quality_logs WHERE event_type IN ('gap', 'outage')"
                )
            )
        )

    def missing(self, symbol: str, span: tuple[int, int]) -> set[int]:
        records = self._run(
            self._connection.fetch(
                "SELECT lower(r) AS a, upper(r) AS b FROM unnest(missing_ranges($1, $2, $3)) AS r",
                symbol, ms(span[0]), ms(span[1]),
            )
        )  # fmt: skip
        return {n for r in records for n in range(minute_of(r["a"]), minute_of(r["b"]))}

    def coverage(self, symbol: str, span: tuple[int, int]) -> list[tuple[int, str]]:
        records = self._run(
            self._connection.fetch(
                "SELECT * FROM candle_coverage($1, $2, $3)", symbol, ms(span[0]), ms(span[1])
            )
        )
        return [
            (n, r["status"])
            for r in records
            for n in range(minute_of(r["from_time"]), minute_of(r["to_time"]))
        ]


who = st.sampled_from(["mine", "mine", "another", "stranger"])


class LedgerMachine(RuleBasedStateMachine):
    """Feeders, requests and workers do to both what they may do at any time."""

    sql: Sql

    def __init__(self) -> None:
        super().__init__()
        self.model = Ledger(days=DAYS)
        self.held: list[tuple[ledger.Work, Entry]] = []
        """What workers believe they have, some wrongly."""
        self.claims = count(1)

    @initialize(now=st.integers(4, LENGTH))
    def begin(self, now: int) -> None:
        self.model.now = now * MINUTE_MS + 5_000
        self.model.history = dict.fromkeys(SYMBOLS, OLD)
        self.model.first_kline = dict.fromkeys(SYMBOLS)
        self.sql.reset(T0 + self.model.now)

    @rule(symbol=symbols, minute=st.integers(0, 5))
    def the_listing_is_learned(self, symbol: str, minute: int) -> None:
        if self.model.first_kline[symbol] is None:
            self.model.first_kline[symbol] = minute
            self.sql.set_first_kline(symbol, minute)

    @rule(minutes=st.integers(1, 4))
    def time_passes(self, minutes: int) -> None:
        self.model.now += minutes * MINUTE_MS
        self.sql.advance(T0 + self.model.now)

    @rule(minute=st.integers(0, LENGTH))
    def thirteen_months_pass(self, minute: int) -> None:
        """But for some seconds: the minute in which the edge lies is too old."""
        self.model.now = max(self.model.now, DAYS.reaches(minute) + 5_000)
        self.sql.advance(T0 + self.model.now)

    @rule(symbol=symbols, minute=st.integers(0, LENGTH))
    def a_symbol_is_delisted(self, symbol: str, minute: int) -> None:
        self.model.expected_until[symbol] = minute
        self.sql.set_expected_until(symbol, minute)

    @rule(symbol=symbols, span=spans, source=st.sampled_from(Source), trades=st.sampled_from([0, 3]))
    def candles_are_stored(self, symbol: str, span: tuple[int, int], source: Source, trades: int) -> None:
        new = [n for n in range(*span) if (symbol, n) not in self.model.stored]
        for run in runs(new):
            self.sql.store(symbol, run, source, trades)
        for n in new:
            self.model.stored[symbol, n] = source.value if trades else "no-trade"

    @rule(symbol=symbols, span=spans, reopen=st.booleans())
    def a_hole_is_recorded(self, symbol: str, span: tuple[int, int], reopen: bool) -> None:
        assert self.sql.record_missing(symbol, span, reopen) == self.model.record_missing(
            symbol, *span, reopen=reopen
        )

    @rule(symbol=symbols, span=long_spans)
    def days_are_missing(self, symbol: str, span: tuple[int, int]) -> None:
        self.a_hole_is_recorded(symbol, span, False)

    @rule(most=st.sampled_from([1, 2, 5, 1_500, 44_640]))
    def a_worker_claims(self, most: int) -> None:
        owner = f"claim {next(self.claims)}"
        claimable = self.model.claimable()
        work = self.sql.claim(most, owner)
        assert (work is None) == (not claimable)
        if work is not None:
            taken = [e for e in claimable if (e.symbol, e.end) == (work.gap.symbol, minute_of(work.gap.end))]
            assert len(taken) == 1, f"{work} is none of {claimable}"
            entry = self.model.claim(taken[0], most, owner)
            assert (entry.kind == "outage", entry.start, entry.attempts) == (
                work.is_outage, minute_of(work.gap.start), work.attempts,
            )  # fmt: skip
            self.held = [*self.held[-4:], (work, entry)]

    @rule()
    def leases_and_pauses_end(self) -> None:
        """Whoever has one still may go on, until another claims the work."""
        for entry in self.model.entries:
            entry.held = False
        self.sql.end_leases()

    def _owner(self, which: int, who: str) -> tuple[ledger.Work, Entry, str]:
        """A piece of work, and who comes to do something about it: mostly whom it was given to."""
        work, entry = self.held[which % len(self.held)]
        mine, another = work.owner, self.held[0][0].owner
        assert mine is not None
        assert another is not None
        return work, entry, {"mine": mine, "another": another, "stranger": "nobody"}[who]

    def _both(self, model: Callable[[], Any], sql: Callable[[], Any]) -> None:
        """The same comes of it, or it is lost for both; that nothing changed then is an invariant's."""
        try:
            expected = model()
        except LeaseLostError:
            with pytest.raises(LeaseLostError):
                sql()
        else:
            assert sql() == expected

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4), who=who, held=st.booleans())
    def a_worker_gives_back(self, which: int, who: str, held: bool) -> None:
        work, entry, owner = self._owner(which, who)
        self._both(
            lambda: self.model.release(entry.id, owner, held=held),
            lambda: self.sql.release(work, owner, held),
        )

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4), who=who, recovered=st.integers(0, 2))
    def a_worker_goes_on(self, which: int, who: str, recovered: int) -> None:
        work, entry, owner = self._owner(which, who)
        self._both(
            lambda: self.model.renew(entry.id, owner, recovered=recovered),
            lambda: self.sql.renew(work, owner, recovered),
        )

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4), who=who, recovered=st.integers(0, 2))
    def a_worker_settles(self, which: int, who: str, recovered: int) -> None:
        """It may come again: then it is too late."""
        work, entry, owner = self._owner(which, who)
        if work.is_outage:
            self._both(
                lambda: self.model.settle_outage(entry.id, owner),
                lambda: self.sql.settle_outage(work, owner),
            )
        else:
            self._both(
                lambda: self.model.settle_gap(entry.id, owner, recovered=recovered),
                lambda: self.sql.settle_gap(work, owner, recovered),
            )

    @rule(symbol=symbols, span=spans, confirm_minutes=st.integers(0, 4))
    def a_look_finds_nothing(self, symbol: str, span: tuple[int, int], confirm_minutes: int) -> None:
        self.model.record_outage(symbol, *span, confirm_ms=confirm_minutes * MINUTE_MS)
        self.sql.record_outage(symbol, span, confirm_minutes * 60)

    @rule(symbol=symbols, span=spans, why=st.sampled_from(["too old", "delisted"]), owed=st.integers(0, 1))
    def a_gap_is_tried_that_hardly_anybody_owes(
        self, symbol: str, span: tuple[int, int], why: str, owed: int
    ) -> None:
        """But for one minute of it, or not even that."""
        self.a_hole_is_recorded(symbol, span, True)
        if why == "delisted":
            self.a_symbol_is_delisted(symbol, span[0] + owed)
        else:
            self.thirteen_months_pass(span[1] - 1 - owed)
        self.a_worker_claims(44_640)
        if self.held:
            self.a_worker_settles(len(self.held) - 1, "mine", 0)

    @rule(symbol=symbols, span=spans)
    def a_second_look_begins(self, symbol: str, span: tuple[int, int]) -> None:
        self.a_look_finds_nothing(symbol, span, 0)
        self.a_worker_claims(5)

    @rule(symbol=symbols, span=spans)
    def both_looks_find_nothing(self, symbol: str, span: tuple[int, int]) -> None:
        self.a_look_finds_nothing(symbol, span, confirm_minutes=0)
        before = self.held[-1:]
        self.a_worker_claims(most=5)
        if self.held[-1:] != before:
            self.a_worker_settles(len(self.held) - 1, "mine", 0)

    @invariant()
    def rows_are_equal(self) -> None:
        if self.model.history:
            assert self.sql.rows() == sorted(entry.row for entry in self.model.entries)
            assert self.sql.minutes_missing_by_the_books() == 0
            assert self.model.overlaps() == []

    @rule(symbol=symbols, span=spans)
    def views_are_equal(self, symbol: str, span: tuple[int, int]) -> None:
        assert self.sql.missing(symbol, span) == self.model.missing(symbol, *span)
        assert self.sql.coverage(symbol, span) == list(self.model.coverage(symbol, *span).items())

    def teardown(self) -> None:
        if self.model.history:
            for symbol in SYMBOLS:
                self.views_are_equal(symbol, (OLD - 1, LENGTH))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop of its own: a machine's rules are not coroutines."""
    with asyncio.Runner() as running:
        yield running


@pytest.mark.promise
@pytest.mark.timeout(0)
def test_the_ledgers_sql_does_what_the_model_does(database: DatabaseSettings, runner: asyncio.Runner) -> None:
    connection = runner.run(db.connect(database, "test-machine"))
    try:
        machine = type("Machine", (LedgerMachine,), {"sql": Sql(connection, runner)})
        run_state_machine_as_test(machine, settings=machine_settings(examples=150, steps=40))
    finally:
        runner.run(connection.close())

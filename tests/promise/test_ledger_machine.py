"""The ledger's SQL and the small model say the same after every step, whatever the steps are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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
from tests.promise.ledger import Entry, Ledger, runs
from tests.promise.profile import machine_settings

from marketdata import database as db
from marketdata.database import Connection
from marketdata.models import MINUTE_MS, Candle, Source
from marketdata.settings import DatabaseSettings
from marketdata.store import candles, ledger

T0 = 1_679_702_280_000
"""2023-03-24T23:58:00Z: days are counted one by one, so the minutes lie on both sides of a midnight."""
LENGTH = 14
SYMBOLS = ("AUSDT", "BUSDT")

symbols = st.sampled_from(SYMBOLS)
# Short ranges at few places, so that they touch and overlap.
spans = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 6)).map(
    lambda s: (s[0], min(LENGTH, s[0] + s[1]))
)


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
                ms(0),
            )

    def set_first_kline(self, symbol: str, minute: int) -> None:
        self._execute("UPDATE symbols SET first_kline = $2 WHERE symbol = $1", symbol, ms(minute))

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

    def claim(self, most: int) -> ledger.Work | None:
        work: ledger.Work | None = self._run(
            ledger.claim(self._connection, lease_seconds=3600, max_minutes=most)
        )
        return work

    def release(self, work: ledger.Work, held: bool) -> None:
        self._run(
            ledger.release(
                self._connection, work.gap.id, retry_seconds=3600 if held else -1, reason="a reason"
            )
        )

    def settle(self, work: ledger.Work) -> bool | None:
        if work.is_outage:
            self._run(ledger.settle_outage(self._connection, work.gap.id))
            return None
        return bool(
            self._run(
                ledger.settle_gap(self._connection, work.gap.id, recovered=0, retry_seconds=3600, reason="r")
            )
        )

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
                " coalesce(lease_until > now(), false) AS held FROM data_quality_logs"
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


class LedgerMachine(RuleBasedStateMachine):
    """Feeders, requests and workers do to both what they may do at any time."""

    sql: Sql

    def __init__(self) -> None:
        super().__init__()
        self.model = Ledger()
        self.held: list[tuple[ledger.Work, Entry]] = []

    @initialize(now=st.integers(4, LENGTH))
    def begin(self, now: int) -> None:
        self.model.now = now * MINUTE_MS + 5_000
        self.model.history = dict.fromkeys(SYMBOLS, 0)
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

    @rule(most=st.integers(1, 5))
    def a_worker_claims(self, most: int) -> None:
        claimable = self.model.claimable()
        work = self.sql.claim(most)
        assert (work is None) == (not claimable)
        if work is not None:
            taken = [e for e in claimable if (e.symbol, e.end) == (work.gap.symbol, minute_of(work.gap.end))]
            assert len(taken) == 1, f"{work} is none of {claimable}"
            entry = self.model.claim(taken[0], most)
            assert (entry.kind == "outage", entry.start, entry.attempts) == (
                work.is_outage, minute_of(work.gap.start), work.attempts,
            )  # fmt: skip
            self.held.append((work, entry))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 20), held=st.booleans())
    def a_worker_gives_back(self, which: int, held: bool) -> None:
        work, entry = self.held[which % len(self.held)]
        self.model.release(entry.id, held=held)
        self.sql.release(work, held)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 20))
    def a_worker_settles(self, which: int) -> None:
        work, entry = self.held.pop(which % len(self.held))
        if work.is_outage:
            self.model.settle_outage(entry.id)
            self.sql.settle(work)
        else:
            closed = self.model.settle_gap(entry.id)
            assert self.sql.settle(work) == closed

    @rule(symbol=symbols, span=spans, confirm_minutes=st.integers(0, 4))
    def a_look_finds_nothing(self, symbol: str, span: tuple[int, int], confirm_minutes: int) -> None:
        self.model.record_outage(symbol, *span, confirm_ms=confirm_minutes * MINUTE_MS)
        self.sql.record_outage(symbol, span, confirm_minutes * 60)

    @rule(symbol=symbols, span=spans)
    def both_looks_find_nothing(self, symbol: str, span: tuple[int, int]) -> None:
        self.a_look_finds_nothing(symbol, span, confirm_minutes=0)
        before = len(self.held)
        self.a_worker_claims(most=5)
        if len(self.held) > before:
            self.a_worker_settles(before)

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
                self.views_are_equal(symbol, (0, LENGTH))


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

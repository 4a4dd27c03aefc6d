"""The pure parts: paging, verdicts, delays, what a missing run means."""

from __future__ import annotations

import json

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gap_handler import demand, outages, plan
from gap_handler.exchange_state import ExchangeState
from gap_handler.health import Status, judge
from gap_handler.ip_pool import IpPool, pool_of, seconds_to_next_minute
from gap_handler.outages import Finding
from gap_handler.plan import Run
from gap_handler.verdict import LONGEST_DELAY, Outcome, StalledError, delay_after, verdict
from marketdata.binance.rest import RestCandle
from marketdata.clock import MarketClock
from marketdata.errors import (
    DecodeError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    UnavailableError,
)
from marketdata.models import MINUTE_MS, Candle

T = 1_772_539_200_000


def row(time: int, *, low: float = 1.0, close_time: int | None = None) -> RestCandle:
    candle = Candle("BTCUSDT", time, 2.0, 3.0, low, 2.0, 1.0, 2.0, 1, 0.5, 1.0)
    return RestCandle(candle, time + MINUTE_MS - 1 if close_time is None else close_time)


class FakeClock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_only_final_rows_of_the_range_are_usable() -> None:
    rows = [row(T - MINUTE_MS), row(T), row(T + 14_789), row(T + MINUTE_MS), row(T + 2 * MINUTE_MS)]
    now = T + 2 * MINUTE_MS
    kept = plan.usable(rows, Run(T, T + 5 * MINUTE_MS), now)
    assert [r.candle.time for r in kept] == [T, T + 14_789]
    kept = plan.usable(rows, Run(T + MINUTE_MS, T + 2 * MINUTE_MS), T + 5 * MINUTE_MS)
    assert [r.candle.time for r in kept] == [T + MINUTE_MS]


@pytest.mark.parametrize(
    ("now", "final"), [(T, False), (T + MINUTE_MS - 1, False), (T + MINUTE_MS, False), (T + 61_000, True)]
)
def test_a_row_is_final_once_its_minute_is_over(now: int, final: bool) -> None:
    assert plan.is_final(row(T), now) is final
    assert plan.is_final(row(T, close_time=T + 10), now) is final, (
        "an early close time does not end the minute"
    )


@given(
    st.lists(st.integers(0, 500), unique=True, max_size=60),
    st.lists(st.integers(0, 500), unique=True, max_size=60),
    st.integers(1, 50),
)
def test_paging_ends_and_asks_for_every_missing_minute(
    missing: list[int], there: list[int], limit: int
) -> None:
    runs = [Run(minute * MINUTE_MS, (minute + 1) * MINUTE_MS) for minute in sorted(missing)]
    cursor = plan.next_missing(runs, 0)
    seen: set[int] = set()
    asked = 0
    while cursor is not None:
        asked += 1
        assert asked <= len(runs)
        page = [row(m * MINUTE_MS) for m in sorted(there) if cursor <= m * MINUTE_MS < runs[-1].end][:limit]
        seen |= {r.candle.time // MINUTE_MS for r in page}
        following = plan.after(page, cursor)
        assert following is None or following > cursor
        cursor = None if following is None else plan.next_missing(runs, following)
    assert seen >= set(missing) & set(there)


def test_an_answer_that_brings_nothing_new_ends_the_paging() -> None:
    assert plan.after([], T) is None
    assert plan.after([row(T - MINUTE_MS)], T) is None
    assert plan.after([row(T)], T) == T + MINUTE_MS


RUN = Run(T, T + 5 * MINUTE_MS)
LATE = T + 60 * MINUTE_MS


@pytest.mark.parametrize(
    ("first", "first_kline", "refused", "finding"),
    [
        ([row(RUN.end)], 0, (), Finding.OUTAGE),
        ([row(RUN.end + 90 * MINUTE_MS)], 0, (), Finding.NOTHING_AFTER),
        ([row(LATE - 30_000)], 0, (), Finding.NOTHING_AFTER),
        ([], 0, (), Finding.NOTHING_AFTER),
        ([row(RUN.start + MINUTE_MS)], 0, (), Finding.ROWS),
        ([row(RUN.end)], None, (), Finding.NOTHING_BEFORE),
        ([row(RUN.end)], RUN.start, (), Finding.NOTHING_BEFORE),
        ([row(RUN.end)], RUN.start, (RUN.start,), Finding.OUTAGE),
    ],
)
def test_an_outage_needs_rows_on_both_sides(
    first: list[RestCandle], first_kline: int | None, refused: tuple[int, ...], finding: Finding
) -> None:
    assert (
        outages.judge(RUN, first, first_kline=first_kline, refused=frozenset(refused), now_ms=LATE) is finding
    )


@pytest.mark.parametrize(
    ("minutes", "refused", "finding"),
    [
        ([5, 7, 9], {5}, Finding.ROWS),
        ([5, 6, 7, 9], {5, 6}, Finding.ROWS),
        ([5, 7, 9], {5, 7}, Finding.OUTAGE),
        ([5, 6, 7, 8], {5, 6, 7}, Finding.OUTAGE),
        ([5, 6, 7, 8], {5, 6, 7, 8}, Finding.OUTAGE),
        ([5, 7], {5, 7}, Finding.NOTHING_AFTER),
    ],
)
async def test_a_look_goes_on_behind_a_refused_row(
    minutes: list[int], refused: set[int], finding: Finding
) -> None:
    """Of minutes 5 to 7 paging saw what is refused; an answer may have lacked what lies behind it."""

    class Record:
        async def klines(
            self, symbol: str, *, start: int, end: int | None = None, limit: int = 1000
        ) -> list[RestCandle]:
            return [row(T + n * MINUTE_MS) for n in minutes if T + n * MINUTE_MS >= start][:limit]

    market = MarketClock()
    market.advance(T + 60 * MINUTE_MS)
    found = await outages.look(
        Record(), "BTCUSDT", Run(T + 5 * MINUTE_MS, T + 8 * MINUTE_MS), first_kline=T,
        refused=frozenset(T + n * MINUTE_MS for n in refused), market=market,
    )  # fmt: skip
    assert found is finding


@pytest.mark.parametrize(
    ("error", "outcome", "seconds"),
    [
        (RateLimitedError("x", status=429, retry_after=17), Outcome.RATE_LIMITED, (17, 17)),
        (RestrictedError("x", status=451), Outcome.RESTRICTED, (300, 300)),
        (RejectedError("x", status=400, code=-1121), Outcome.REJECTED, (300, 300)),
        (UnavailableError("x", status=503), Outcome.UNAVAILABLE, (1, 2)),
        (DecodeError("x"), Outcome.UNAVAILABLE, (1, 2)),
        (StalledError("x"), Outcome.STALLED, (0, 0)),
        (asyncpg.AdminShutdownError("x"), Outcome.DATABASE, (1, 2)),
        (ConnectionRefusedError(), Outcome.DATABASE, (1, 2)),
        (asyncpg.InternalClientError("cannot switch to state 11"), Outcome.DATABASE, (1, 2)),
        (TimeoutError(), Outcome.DATABASE, (1, 2)),
        (KeyError("x"), Outcome.FAILED, (60, 60)),
    ],
)
def test_every_error_has_a_verdict(error: Exception, outcome: Outcome, seconds: tuple[float, float]) -> None:
    judged = verdict(error, 1)
    assert judged.outcome is outcome
    assert seconds[0] <= judged.retry_seconds <= seconds[1]
    assert judged.reason


def test_delays_grow_to_a_cap_and_differ() -> None:
    for attempts, longest in enumerate([2, 4, 8, 16, 32, 60, 60, 60], start=1):
        assert all(longest / 2 <= delay_after(attempts) <= longest for _ in range(20))
    assert all(1 <= delay_after(1) <= 2 for _ in range(50))
    assert all(LONGEST_DELAY / 2 <= delay_after(10**9) <= LONGEST_DELAY for _ in range(50))
    assert len({delay_after(5) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("url", "pool"),
    [
        ("https://api.binance.com", "api.binance.com"),
        ("https://api-gcp.binance.com", "api.binance.com"),
        ("https://API4.binance.com:443/x", "api.binance.com"),
        ("https://data-api.binance.vision", "data-api.binance.vision"),
        ("https://api.binance.com.example.org", "api.binance.com.example.org"),
        ("http://127.0.0.1:9444", "127.0.0.1:9444"),
    ],
)
def test_hosts_share_a_pool_as_the_exchange_counts(url: str, pool: str) -> None:
    assert pool_of(url) == pool


async def test_used_weight_stops_everyone_until_the_minute_turns() -> None:
    clock = FakeClock()
    pool = IpPool("x", clock, requests_a_second=1000)
    async with pool.turn():
        pass
    pool.note({"x-mbx-used-weight-1m": "5399", "date": "Tue, 03 Mar 2026 12:00:40 GMT"})
    async with pool.turn():
        pass
    pool.note({"x-mbx-used-weight-1m": "5400", "date": "Tue, 03 Mar 2026 12:00:40 GMT"})
    with pytest.raises(RateLimitedError, match="5400 of 6000") as caught:
        async with pool.turn():
            raise AssertionError("it is paused")
    assert caught.value.retry_after == pytest.approx(21)
    clock.now += 21
    async with pool.turn():
        pass


async def test_a_longer_pause_is_not_cut_short() -> None:
    clock = FakeClock()
    pool = IpPool("x", clock, requests_a_second=1000)
    pool.pause(RateLimitedError("banned", status=418, retry_after=100), 100)
    pool.pause(RateLimitedError("slow down", status=429, retry_after=1), 1)
    assert pool.paused_seconds == pytest.approx(100)
    with pytest.raises(RateLimitedError, match="banned"):
        pool.check()


def test_the_minute_turns_by_the_servers_clock() -> None:
    assert seconds_to_next_minute({"date": "Tue, 03 Mar 2026 12:00:59 GMT"}) == 2
    assert seconds_to_next_minute({"date": "soon"}) == 10
    assert seconds_to_next_minute({}) == 10


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    with pytest.raises(demand.RefusedError):
        demand.parse(body)


FIELDS = {"symbol": st.text(max_size=8), "start": st.text(max_size=30), "end": st.datetimes().map(str)}


@given(st.fixed_dictionaries(FIELDS))
def test_no_field_breaks_the_reader(body: dict[str, str]) -> None:
    with pytest.raises(demand.RefusedError) as caught:
        demand.parse(json.dumps(body).encode())
    assert "end" in {problem.field for problem in caught.value.problems}


def test_thirteen_months_at_their_longest_are_allowed() -> None:
    body = b'{"symbol":"BTCUSDT","start":"2026-12-01T00:00:00Z","end":"2028-01-01T00:00:00Z"}'
    assert demand.parse(body).end


def test_health_is_degraded_by_the_exchange_and_unhealthy_by_the_database() -> None:
    state = ExchangeState(FakeClock())
    seen = "connection refused"
    assert judge(seen, state, [])[0] is Status.UNHEALTHY
    state.failed(RateLimitedError("HTTP 418", status=418, retry_after=7200))
    status, reasons = judge(seen, state, ["scheduler"])
    assert status is Status.UNHEALTHY
    assert len(reasons) == 3
    assert "banned this address for 7200 s" in reasons[0]
    state.failed(RejectedError("no such symbol", status=400, code=-1121))
    assert state.ok, "a refused request is not a failing exchange"

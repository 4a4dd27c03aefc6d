"""Whatever comes instead of rows: nothing of it is believed, nobody is hammered, and the reason is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.gap_handler.harness import Connection
from tests.gap_handler.odd_server import Answer, OddServer, drip, flood, hang_up, reply, reset, silence

from exchange_simulator import Simulator
from gap_handler.exchange import TRIES, Exchange
from gap_handler.exchange_state import ExchangeStatus
from gap_handler.monitor import Monitor
from gap_handler.probe import Probe
from marketdata import database as db
from marketdata.clock import MarketClock, SystemClock
from marketdata.errors import (
    DecodeError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    UnavailableError,
)
from marketdata.models import MINUTE_MS
from marketdata.settings import DatabaseSettings

T = 1_772_539_200_000
END = T + 5 * MINUTE_MS


class Hasty(SystemClock):
    """A clock that can be put forward, and on which nobody waits."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def row(time: int, *, close: str = "2", lasts: int = MINUTE_MS) -> list[Any]:
    return [time, "2", "3", "1", close, "1", time + lasts - 1, "2", 1, "0.5", "1", "0"]


def rows(*numbers: float) -> list[list[Any]]:
    return [row(int(T + n * MINUTE_MS)) for n in numbers]


def body(*found: list[Any]) -> bytes:
    return json.dumps(found).encode()


@asynccontextmanager
async def asking(*urls: str, handlers: int = 1) -> AsyncIterator[Exchange]:
    exchange = Exchange(urls, MarketClock(), Hasty(), request_seconds=2.0, handlers=handlers)
    yield exchange
    await exchange.close()


async def klines(exchange: Exchange) -> list[int]:
    return [row.candle.time for row in await exchange.klines("BTCUSDT", start=T, end=END)]


NONSENSE: dict[str, Answer] = {
    "a page": reply(200, b"<html><body>Sign in to the network</body></html>"),
    "cut JSON": reply(200, body(*rows(0, 1))[:-20]),
    "nothing": reply(200, b""),
    "an object": reply(200, b'{"code":-1121,"msg":"Invalid symbol."}'),
    "an empty object": reply(200, b"{}"),
    "null": reply(200, b"null"),
    "a text": reply(200, b'""'),
    "short rows": reply(200, b"[[1,2]]"),
    "trades that are no number": reply(200, body([*row(T)[:8], "many", *row(T)[9:]])),
    "more trades than a column holds": reply(200, body([*row(T)[:8], 2**64 - 1, *row(T)[9:]])),
    "a row before the range": reply(200, body(*rows(-1, 0))),
    "a row after the range": reply(200, body(*rows(0, 5))),
    "out of order": reply(200, body(*rows(1, 0))),
    "two rows for a minute": reply(200, body(row(T), row(T, close="2.5"))),
    "rows of five minutes": reply(200, body(row(T, lasts=5 * MINUTE_MS))),
    "a flood": flood,
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_refused_and_asked_for_again_a_few_times(answer: Answer) -> None:
    async with OddServer(answer) as server, asking(server.url) as exchange:
        with pytest.raises(DecodeError):
            await klines(exchange)
        assert len(server.asked) == TRIES
        assert exchange.state.status is ExchangeStatus.GARBLED


BROKEN: dict[str, Answer] = {
    "a reset": reset,
    "an answer that ends too early": reply(200, body(*rows(0, 1)), cut=30),
    "no answer at all": hang_up,
    "a broken compression": reply(200, b"not compressed", content_encoding="gzip"),
    "an overloaded server": reply(503, b'{"code":-1008,"msg":"Server is currently overloaded"}'),
    "a gateway's page": reply(502, b"<html>Bad gateway</html>"),
    "an internal error": reply(400, b'{"code":-1001,"msg":"Internal error"}'),
    "a timeout behind it": reply(400, b'{"code":-1007,"msg":"Timeout waiting for response"}'),
    "a busy server": reply(400, b'{"code":-1008,"msg":"busy"}'),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_what_passes_is_tried_again(answer: Answer) -> None:
    async with OddServer(answer) as server, asking(server.url) as exchange:
        with pytest.raises(UnavailableError):
            await klines(exchange)
        assert len(server.asked) == TRIES
        assert exchange.state.status is ExchangeStatus.UNAVAILABLE
        server.answer = reply(200, body(*rows(0, 1)))
        assert await klines(exchange) == [T, T + MINUTE_MS]
        assert exchange.state.ok


@pytest.mark.parametrize("answer", [silence, drip])
async def test_an_answer_that_does_not_end_is_given_up(answer: Answer) -> None:
    async with OddServer(answer) as server:
        exchange = Exchange([server.url], MarketClock(), Hasty(), request_seconds=0.2)
        async with asyncio.timeout(30):
            with pytest.raises(UnavailableError, match="Timeout"):
                await klines(exchange)
        assert len(server.asked) == TRIES
        await exchange.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
async def test_an_address_nobody_answers_at_is_unavailable(url: str) -> None:
    async with asking(url) as exchange:
        with pytest.raises(UnavailableError, match=r"ConnectError|Timeout"):
            await klines(exchange)


async def test_what_the_exchange_may_send_is_taken() -> None:
    offset = 14_789 / MINUTE_MS  # the opens of December 2017
    early = [*rows(0), row(T + MINUTE_MS, lasts=10)]  # the last before an outage
    answers = [rows(), rows(0, 0, 1), rows(0, 1 + offset, 2 + offset), early]
    times = [
        [],
        [T, T + MINUTE_MS],
        [T, T + MINUTE_MS + 14_789, T + 2 * MINUTE_MS + 14_789],
        [T, T + MINUTE_MS],
    ]
    async with OddServer(silence) as server, asking(server.url) as exchange:
        for answer, expected in zip(answers, times, strict=True):
            server.answer = reply(200, body(*answer))
            assert await klines(exchange) == expected


DATED = {"date": "Tue, 03 Mar 2026 12:00:00 GMT"}
BANNED = b'{"code":-1003,"msg":"Way too much request weight used; IP banned until 1772539800000. Please"}'
LIMITS: dict[str, tuple[Answer, float]] = {
    "429 with a time": (reply(429, b"{}", retry_after="7"), 7),
    "429 without": (reply(429, b'{"code":-1003,"msg":"Too much request weight used"}'), 60),
    "429 with a date": (reply(429, b"{}", retry_after="Tue, 03 Mar 2026 12:00:30 GMT", **DATED), 30),
    "429 whose body is lost": (reply(429, b"x" * 100, cut=10, retry_after="7"), 7),
    "418 with a time": (reply(418, BANNED, retry_after="300"), 300),
    "418 that names its end": (reply(418, BANNED, **DATED), 600),
    "418 without": (reply(418, b"{}"), 120),
    "418 beyond all bans": (reply(418, b"{}", retry_after="99999999"), 3 * 86_400),
    "the firewall": (reply(403, b"<html>403 Forbidden</html>"), 300),
    "a ban with another status": (reply(400, BANNED, **DATED), 600),
}


@pytest.mark.parametrize(("answer", "seconds"), LIMITS.values(), ids=LIMITS.keys())
async def test_a_limit_stops_everybody_and_is_not_dodged(answer: Answer, seconds: float) -> None:
    async with (
        OddServer(answer) as server,
        OddServer(reply(200, body(*rows(0)))) as other,
        asking(server.url, other.url) as exchange,
    ):
        for _ in range(3):
            with pytest.raises(RateLimitedError):
                await klines(exchange)
        assert len(server.asked) == 1, "nobody asks in a pause"
        assert other.asked == [], "and another host is no way around it"
        assert seconds - 5 <= exchange.pool.paused_seconds <= seconds + 1
        assert exchange.state.status is ExchangeStatus.RATE_LIMITED
        clock = exchange._clock
        assert isinstance(clock, Hasty)
        clock.ahead += seconds + 2
        server.answer = reply(200, body(*rows(0)))
        assert await klines(exchange) == [T]


async def test_a_failure_in_a_pause_does_not_lead_to_another_host() -> None:
    async with OddServer(hang_up) as server, OddServer(reply(200, b"[]")) as other:
        async with asking(server.url, other.url) as exchange:
            async with exchange.pool.turn():
                pass
            exchange.pool.pause(RateLimitedError("slow down", status=429, retry_after=9), 9)
            assert not exchange._move_on(server.url, UnavailableError("reset"))
        assert other.asked == []


async def test_a_restricted_location_goes_to_another_host_or_waits() -> None:
    restricted = reply(451, b'{"code":0,"msg":"Service unavailable from a restricted location"}')
    async with OddServer(restricted) as server, OddServer(reply(200, body(*rows(0)))) as other:
        async with asking(server.url, other.url) as exchange:
            assert await klines(exchange) == [T]
            assert await klines(exchange) == [T]
            assert (len(server.asked), len(other.asked)) == (1, 2)
        async with asking(server.url) as exchange:
            for _ in range(3):
                with pytest.raises(RestrictedError, match="BINANCE_API_URL=https://data-api"):
                    await klines(exchange)
            assert len(server.asked) == 2, "one more, and then not for minutes"
            assert exchange.pool.paused_seconds > 290


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(404, b"<html>not here</html>"), "HTTP 404"),
        (reply(407, b"Proxy Authentication Required"), "HTTP 407"),
        (reply(302, b"", location="http://127.0.0.1:9/login"), "redirect to http://127.0.0.1:9/login"),
    ],
)
async def test_somebody_else_at_the_address_is_said_and_another_host_taken(answer: Answer, said: str) -> None:
    async with OddServer(answer) as server, OddServer(reply(200, body(*rows(0)))) as other:
        async with asking(server.url) as exchange:
            with pytest.raises(RejectedError, match=said):
                await klines(exchange)
            assert len(server.asked) == 1
            assert exchange.state.reason is not None
            assert "BINANCE_API_URL" in exchange.state.reason
            assert said in exchange.state.reason
        async with asking(server.url, other.url) as exchange:
            assert await klines(exchange) == [T]


async def test_what_the_exchange_refuses_is_not_asked_again() -> None:
    refused = reply(400, b'{"code":-1121,"msg":"Invalid symbol."}')
    async with (
        OddServer(refused) as server,
        OddServer(refused) as other,
        asking(server.url, other.url) as exchange,
    ):
        with pytest.raises(RejectedError):
            await klines(exchange)
        assert (len(server.asked), other.asked) == (1, [])
        assert exchange.state.ok, "it is there"


@pytest.mark.parametrize("time", [4_102_444_800_000, -1, 0])
async def test_an_absurd_server_time_does_not_move_the_markets_clock(time: int) -> None:
    answer = reply(200, json.dumps({"serverTime": time}).encode())
    async with OddServer(answer) as server, asking(server.url) as exchange:
        with pytest.raises(DecodeError):
            await exchange.server_time()
        assert exchange._market.now_ms == 0


def info(weight: int, requests: int, minutes: int = 5) -> Answer:
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": minutes, "limit": requests},
    ]
    return reply(200, json.dumps({"serverTime": T, "rateLimits": limits, "symbols": []}).encode())


async def test_the_exchanges_limits_are_kept() -> None:
    async with OddServer(info(1200, 300_000)) as server, asking(server.url, handlers=4) as exchange:
        assert exchange.pool.requests_a_second == 2, "before the first answer, too"
        await exchange.read_limits("BTCUSDT")
        assert exchange.pool.weight_limit == 1200
        assert exchange.pool.requests_a_second == 2, "our own turns, divided: whole ones"
        server.answer = info(1200, 300)
        await exchange.read_limits("BTCUSDT")
        assert exchange.pool.requests_a_second == pytest.approx(0.9 / 4), "a slower one, and below it"
        exchange.pool.note({"x-mbx-used-weight-1m": "1079"})
        assert exchange.pool.paused_seconds == 0
        exchange.pool.note({"x-mbx-used-weight-1m": "1080"})
        assert exchange.pool.paused_seconds > 0
    async with OddServer(info(0, 300)) as server, asking(server.url) as exchange:
        with pytest.raises(DecodeError, match="allows nothing"):
            await exchange.read_limits("BTCUSDT")


@pytest.mark.database
async def test_the_limits_are_read_at_the_start_and_every_hour(
    database: DatabaseSettings, ledger: Connection, simulator: Simulator
) -> None:
    clock = Hasty()
    exchange = Exchange([simulator.api_url], MarketClock(), clock)
    pool = await db.create_pool(database, "test", 2)
    probe = Probe(pool)
    watch = Monitor(pool, probe, exchange, "BTCUSDT")
    failing = simulator.faults.add("rest_status", status=503, path="exchangeInfo")
    with pytest.raises(UnavailableError):
        await watch.look_at_exchange()
    simulator.faults.clear(failing.id)
    asked = simulator.faults.add("rest_delay", seconds=0.0, path="exchangeInfo")
    for ahead, fired in ((0, 1), (10, 1), (3_500, 1), (3_700, 2), (3_800, 2)):
        clock.ahead = ahead
        await watch.look_at_exchange()
        assert asked.fired == fired
    simulator.faults.add("rest_status", status=400, code=-1121, path="exchangeInfo")
    clock.ahead = 7_500
    await watch.look_at_exchange()
    await watch.look_at_exchange()
    assert asked.fired == 3, "a symbol it does not list is not asked for every ten seconds"
    await exchange.close()
    await pool.close()

"""The exchange's REST: requests through one allowance, refusals as errors, other hosts when one fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from gap_handler.exchange_state import ExchangeState
from gap_handler.ip_pool import IpPool, pool_of
from gap_handler.verdict import SLOW_SECONDS
from marketdata import metrics, outgoing
from marketdata.backoff import delays
from marketdata.binance import rest
from marketdata.clock import Clock, MarketClock
from marketdata.errors import (
    DecodeError,
    ExchangeError,
    RateLimitedError,
    RejectedError,
    RestrictedError,
    UnavailableError,
)
from marketdata.log import get_logger
from marketdata.outgoing import UNANSWERED

log = get_logger(__name__)

Answer = TypeVar("Answer")

TRIES: Final = 3
REQUEST_SECONDS: Final = 20.0
"""Whole duration of one request; the exchange's own limit is 10 s (rest-api.md)."""
MAX_ANSWER_BYTES: Final = 8 * 2**20
"""Far more than the largest answer to what we ask: 1000 rows have 200 kB."""
AHEAD_MOST_MS: Final = 86_400_000
"""A server time further ahead of every other clock is not believed: the market's never goes back."""

FailoverNote = Callable[[str, str, str], Awaitable[None]]
"""Told of a change of host that works: from, to, reason."""
Guard = Callable[[str], Awaitable[None]]
"""Told whose answers these are, before the first is used; raises ``WrongExchangeError`` to refuse them."""


async def _bounded(response: httpx.Response) -> bytes:
    """Return a body. Raises ``DecodeError`` as soon as it is known to be too large."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise DecodeError(f"an answer of more than {MAX_ANSWER_BYTES} bytes", bytes(body[:200]))
    return bytes(body)


class Klines(Protocol):
    """The one question the outage rules ask."""

    async def klines(
        self, symbol: str, *, start: int, end: int | None = None, limit: int = rest.KLINES_LIMIT
    ) -> list[rest.RestCandle]:
        """Return the rows that open in ``[start, end)``, oldest first."""


class Exchange:
    """Klines, time and limits of Binance spot. Every request of this process passes through here."""

    def __init__(
        self,
        urls: Sequence[str],
        market: MarketClock,
        clock: Clock,
        *,
        on_failover: FailoverNote | None = None,
        guard: Guard | None = None,
        handlers: int = 1,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.state = ExchangeState(clock)
        self._urls = tuple(urls)
        self._market = market
        self._clock = clock
        self._on_failover = on_failover
        self._guard = guard
        self._request_seconds = request_seconds
        self._pools = {
            name: IpPool(name, clock, handlers=handlers) for name in {pool_of(url) for url in urls}
        }
        self._current = 0
        self._delivering = self._urls[0]
        self._why = ""
        self._time_asked = -1e9
        self._client = outgoing.client(
            timeout=httpx.Timeout(request_seconds, connect=5.0),
            headers={"user-agent": "gap-handler", "accept": "application/json"},
        )

    @property
    def url(self) -> str:
        """The address that is asked at present."""
        return self._urls[self._current]

    @property
    def pool(self) -> IpPool:
        """The allowance of the address that is asked at present."""
        return self._pools[pool_of(self.url)]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def opened(self) -> None:
        """Return once no pause binds the address that is asked."""
        while (left := self.pool.paused_seconds) > 0:
            await self._clock.sleep(min(left, 5.0))

    async def klines(
        self, symbol: str, *, start: int, end: int | None = None, limit: int = rest.KLINES_LIMIT
    ) -> list[rest.RestCandle]:
        """Return the rows that open in ``[start, end)`` (Unix ms), oldest first, at most ``limit``.

        The last may be of a minute that is not over. Raises ``ExchangeError`` and ``DecodeError``.
        """
        params: dict[str, str | int] = {
            "symbol": symbol,
            "interval": "1m",
            "startTime": start,
            "limit": limit,
        }
        if end is not None:
            params["endTime"] = end - 1  # inclusive on the open time

        def decode(raw: bytes) -> list[rest.RestCandle]:
            return rest.check_klines(rest.decode_klines(raw, symbol), start, end)

        return await self._ask(rest.KLINES_PATH, params, decode)

    async def server_time(self) -> int:
        """Ask the exchange's clock, advance the market's by it, and return it (Unix ms)."""
        now = await self._ask(rest.TIME_PATH, {}, lambda raw: self._believed(rest.decode_time(raw)))
        self._market.advance(now)
        self._time_asked = self._clock.monotonic()
        return now

    @property
    def time_age(self) -> float:
        """Seconds since the exchange's clock was last asked."""
        return self._clock.monotonic() - self._time_asked

    async def read_limits(self, symbol: str) -> None:
        """Learn the limits from exchangeInfo; ``symbol`` keeps the answer small."""

        def decode(raw: bytes) -> rest.ExchangeInfo:
            info = rest.decode_exchange_info(raw)
            self._believed(info.server_time)
            return info

        try:
            info = await self._ask(rest.EXCHANGE_INFO_PATH, {"symbol": symbol}, decode)
        except RejectedError:
            self.pool.limits_asked()  # what is refused now is refused in ten seconds, too
            raise
        self._market.advance(info.server_time)
        self.pool.learn(info)
        log.info(
            "exchange_limits",
            pool=self.pool.name,
            weight_limit=self.pool.weight_limit,
            requests_a_second=round(self.pool.requests_a_second, 3),
        )

    def _believed(self, time_ms: int) -> int:
        latest = max(self._market.now_ms, self._clock.wall_ms()) + AHEAD_MOST_MS
        if not 0 < time_ms <= latest:
            raise DecodeError(f"a server time of {time_ms}, more than a day ahead of every clock")
        return time_ms

    async def _ask(
        self, path: str, params: dict[str, str | int], decode: Callable[[bytes], Answer]
    ) -> Answer:
        for wait in (*islice(delays(first=0.5, cap=4.0), TRIES - 1), None):
            url = self.url
            try:
                answer = decode(await self._request(url, path, params))
            except (UnavailableError, DecodeError, RestrictedError, RejectedError) as error:
                self.state.failed(error)
                if isinstance(error, RejectedError) and error.code is not None:
                    raise  # every host would say the same
                moved = self._move_on(url, error)
                permanent = isinstance(error, RestrictedError | RejectedError)
                if wait is None or (permanent and not moved):
                    raise
                if not moved:
                    await self._clock.sleep(wait)
            except ExchangeError as error:
                self.state.failed(error)
                raise
            else:
                self.state.delivered()
                await self._note_host(url)
                return answer
        raise AssertionError("the last try raises or returns")

    async def _request(self, url: str, path: str, params: dict[str, str | int]) -> bytes:
        pool = self._pools[pool_of(url)]
        status, headers, content = 0, dict[str, str](), b""
        try:
            async with (
                pool.turn() as trace,
                asyncio.timeout(self._request_seconds),
                self._client.stream(
                    "GET", url + path, params=params, extensions={"trace": trace}
                ) as response,
            ):
                status = response.status_code
                headers = {name.lower(): value for name, value in response.headers.items()}
                content = await _bounded(response)
        except (*UNANSWERED, DecodeError) as error:
            # A refusal counts even where its body does not arrive.
            if status in (0, 200):
                metrics.REST_REQUESTS.labels("0").inc()
                if isinstance(error, DecodeError):
                    raise
                reason = f"{urlsplit(url).netloc}: {type(error).__name__} {error}".strip()
                raise UnavailableError(reason) from error
        metrics.REST_REQUESTS.labels(str(status)).inc()
        pool.note(headers)
        refusal = rest.refusal(status, headers, content, now_ms=self._market.now_ms)
        if isinstance(refusal, RateLimitedError):
            # A little later than asked, so that handlers behind one address do not return as one.
            pool.pause(refusal, refusal.retry_after + random.uniform(0.1, 1.0))
        elif isinstance(refusal, RestrictedError):
            pool.pause(refusal, SLOW_SECONDS)
        if refusal is not None:
            raise refusal
        if self._guard is not None:
            await self._guard(rest.answered_by(headers))
        return content

    def _move_on(self, url: str, error: Exception) -> bool:
        """Turn to the next address whose pool is open; False where there is none."""
        if url != self.url:
            return True  # another worker did already
        if self.pool.rate_limited:
            return False  # another host is no way around a pause
        for step in range(1, len(self._urls)):
            candidate = (self._current + step) % len(self._urls)
            if self._pools[pool_of(self._urls[candidate])].paused_seconds <= 0:
                self._current, self._why = candidate, str(error)
                return True
        return False

    async def _note_host(self, url: str) -> None:
        if url == self._delivering or url != self.url:
            return
        left, self._delivering = self._delivering, url
        log.warning("exchange_failover", left=left, taken=url, reason=self._why)
        if self._on_failover is not None:
            await self._on_failover(left, url, self._why)

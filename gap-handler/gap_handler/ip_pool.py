"""One exchange address pool's allowance: spaced requests, used weight, and pauses that bind everyone."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from aiolimiter import AsyncLimiter

from marketdata import metrics
from marketdata.binance.rest import DEFAULT_WEIGHT_LIMIT, ExchangeInfo, used_weight
from marketdata.clock import Clock
from marketdata.errors import ExchangeError, RateLimitedError, RestrictedError
from marketdata.log import get_logger

log = get_logger(__name__)

REQUESTS_A_SECOND: Final = 10
_SECOND: Final = 1.001
"""How long a request that was sent keeps its turn: uvloop's clock counts whole milliseconds."""
_CLOSEST: Final = 0.95
"""Distance of two requests as a share of the even one: what one is late costs the next ones nothing."""
SENT: Final = "http11.send_request_headers.complete"
"""httpcore's name for the moment at which a request is with the socket."""
SOFT_STOP: Final = 0.9
"""Share of the weight limit at which we stop by ourselves until the minute turns, and of the raw request
limit that is never exceeded."""
_LOG_EVERY_SECONDS: Final = 600.0


def pool_of(url: str) -> str:
    """Return the name of the pool whose limits a base address counts against.

    ``api``, ``api-gcp`` and ``api1`` … ``api4`` of binance.com are one (rest-api.md, "IP limits").
    """
    host = (urlsplit(url).hostname or "").lower()
    if re.fullmatch(r"api[a-z0-9-]*\.binance\.com", host):
        return "api.binance.com"
    return urlsplit(url).netloc.lower()


def seconds_to_next_minute(headers: Mapping[str, str]) -> float:
    """Return the seconds until the server's wall-clock minute turns, by its ``Date``; 10 without one."""
    try:
        return 61.0 - parsedate_to_datetime(headers.get("date", "")).second
    except ValueError:
        return 10.0


Trace = Callable[[str, object], Awaitable[None]]
"""What httpx tells of a request's progress, by ``extensions={"trace": …}``."""


class IpPool:
    """Everyone who asks this pool does so within a ``turn`` and reports through ``note``.

    There are ten turns, and a request keeps its own until a second after it was sent: so no second, wherever
    it begins, has more than ten. A limiter keeps them apart meanwhile.

    ``handlers`` processes behind one address divide the turns, whole ones: three of them have three each. The
    used weight is everybody's.
    """

    def __init__(
        self, name: str, clock: Clock, *, requests_a_second: int = REQUESTS_A_SECOND, handlers: int = 1
    ) -> None:
        self.name = name
        self.weight_limit = DEFAULT_WEIGHT_LIMIT
        self.used_weight = 0
        self._clock = clock
        self._handlers = handlers
        self._most = max(requests_a_second // handlers, 1)
        self._turns = asyncio.Semaphore(self._most)
        self._keep_to(math.inf)
        self._limits_at: float | None = None
        self._paused_until = 0.0
        self._pause: ExchangeError | None = None
        self._logged_at = -_LOG_EVERY_SECONDS

    @property
    def rate_limited(self) -> bool:
        """Whether the pause is one that the exchange asked for, which no other host shortens."""
        return self.paused_seconds > 0 and isinstance(self._pause, RateLimitedError)

    @property
    def paused_seconds(self) -> float:
        """Seconds until requests are allowed again; 0 when they are."""
        return max(self._paused_until - self._clock.monotonic(), 0.0) if self._pause else 0.0

    @property
    def limits_age(self) -> float:
        """Seconds since the limits were asked for; infinite before."""
        return math.inf if self._limits_at is None else self._clock.monotonic() - self._limits_at

    def limits_asked(self) -> None:
        """Take note that the limits were asked for, whatever the answer."""
        self._limits_at = self._clock.monotonic()

    def learn(self, info: ExchangeInfo) -> None:
        """Keep to the limits the exchange names, at our own pace where that is slower."""
        self.limits_asked()
        self.weight_limit = info.weight_limit
        pace = SOFT_STOP * info.requests_a_second / self._handlers
        if min(pace, self._most) != self.requests_a_second:
            self._keep_to(pace)

    def _keep_to(self, pace: float) -> None:
        """Space requests by our own pace, or by ``pace`` where that is slower."""
        self.requests_a_second = min(pace, float(self._most))
        self._apart = AsyncLimiter(1, max(_CLOSEST / self._most, 1 / pace))

    def check(self) -> None:
        """Raise the error that paused the pool, while it is."""
        left = self.paused_seconds
        if left <= 0 or self._pause is None:
            self._pause = None
            return
        if isinstance(self._pause, RateLimitedError):
            raise RateLimitedError(
                str(self._pause), status=self._pause.status, retry_after=left, code=self._pause.code
            )
        raise RestrictedError(str(self._pause), status=self._pause.status)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Trace]:
        """Hold a request's turn. Raises ``RateLimitedError`` or ``RestrictedError`` in a pause.

        Yields what has to be told of the request's progress: its second begins when it is with the socket,
        after a connection was opened for it; else when it is over. On the network two may still come closer.
        """
        self.check()
        await self._turns.acquire()
        loop = asyncio.get_running_loop()
        free_at = loop.time()

        async def trace(event: str, _: object) -> None:
            nonlocal free_at
            if event == SENT:  # the last one: the first may have been a proxy's
                free_at = loop.time() + _SECOND

        try:
            await self._apart.acquire()
            self.check()
            free_at = math.inf
            yield trace
        finally:
            loop.call_at(min(free_at, loop.time() + _SECOND), self._turns.release)

    def pause(self, error: RateLimitedError | RestrictedError, seconds: float) -> None:
        """Stop everyone for ``seconds``; a longer pause that is under way stays."""
        until = self._clock.monotonic() + seconds
        if until > self._paused_until or self._pause is None:
            self._paused_until, self._pause = until, error
            log.warning("exchange_paused", pool=self.name, seconds=round(seconds, 1), reason=str(error))

    def note(self, headers: Mapping[str, str]) -> None:
        """Take note of an answer's used weight; near the limit, stop until the minute turns."""
        used = used_weight(headers)
        if used is None:
            return
        self.used_weight = used
        metrics.REST_WEIGHT.set(used)
        if self._clock.monotonic() - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = self._clock.monotonic()
            log.info("rest_weight_used", pool=self.name, used=used, limit=self.weight_limit)
        if used >= SOFT_STOP * self.weight_limit:
            seconds = seconds_to_next_minute(headers)
            reason = f"{used} of {self.weight_limit} request weight used in this minute"
            self.pause(RateLimitedError(reason, status=0, retry_after=seconds), seconds)
